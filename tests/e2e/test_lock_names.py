"""A lock is named as Go code names it, also where it is the first field of a variable, whose address it has."""
import pathlib

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent


@pytest.mark.skipif(GO is None, reason="go is not installed")
def test_first_fields(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = build_go(HERE / "lock_names.go", tmp_path / "lock_names")
    monkeypatch.setenv("GOTRACEBACK", "crash")
    r = report("analyze", kernel_core(program, "", tmp_path), program)
    names = {"main.totals.mu", "main.stats.mu", "main.bare"}
    assert {f["subject"]["symbol"] for f in r["findings"] if f["kind"] == "go.mutex.orphaned"} == names
    assert {lock["where"] for lock in r["locks"]} == names
