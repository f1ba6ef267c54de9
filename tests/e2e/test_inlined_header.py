"""A header in a frame is told with the function whose variable it is, whatever was inlined there."""
import pathlib

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent


@pytest.mark.skipif(GO is None, reason="go is not installed")
def test_the_variable_is_its_own_functions(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = build_go(HERE / "inlined_header.go", tmp_path / "program", "-gcflags=-N")
    monkeypatch.setenv("GOTRACEBACK", "crash")
    found = [f for f in report("analyze", kernel_core(program, "", tmp_path), program)["findings"] if f["kind"] == "go.slice.bad"]
    line = 1 + (HERE / "inlined_header.go").read_text().splitlines().index("\ttotal += settle(total)")
    assert [f["where"] for f in found if f["subject"]["symbol"] == "rows"] == [f"variable rows of main.book (inlined_header.go:{line}), goroutine 1"]
