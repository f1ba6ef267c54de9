"""The locks inside sync.Map: who is in the middle of an operation holds one, and gives it back."""
import pathlib

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent


@pytest.mark.skipif(GO is None, reason="go is not installed")
@pytest.mark.parametrize("flags", [(), ("-ldflags=-s -w",)], ids=["dwarf", "stripped"])
def test_an_operation_that_takes_long_is_no_orphaned_lock(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]) -> None:
    program = build_go(HERE / "sync_map.go", tmp_path / "program", *flags)
    monkeypatch.setenv("GOTRACEBACK", "crash")
    r = report("analyze", kernel_core(program, "", tmp_path), program)
    assert any(k["waiters"] for k in r["locks"]), "nobody waits"
    assert [f["kind"] for f in r["findings"] if f["severity"] != "info"] == [], r["findings"]
