"""What only words keep that may be no pointers may be garbage, or of another type than a leaving claims: nobody is accused on its word.
Nor are objects that wait to be used again, with what they had before, and the standard library's records of mappings."""
import pathlib

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None, reason="go is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_go(HERE / "leavings.go", tmp_path_factory.mktemp("leavings") / "program")


@pytest.mark.parametrize("mode,kind", [("header", None), ("torn", None), ("uintptr", "go.pointer.freed"), ("map", "go.map.corrupt")])
def test_what_only_leavings_keep(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, mode: str, kind: str | None) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    monkeypatch.setenv("GODEBUG", "asyncpreemptoff=1")  # what runs is found running
    r = report("analyze", kernel_core(program, mode, tmp_path), program)
    loud = [f for f in r["findings"] if f["severity"] != "info"]
    if kind is None:
        assert loud == []
        return
    (finding,) = loud
    assert (finding["kind"], finding["severity"], finding["strength"]) == (kind, "warning", "possible")
    assert any("words that may be no pointers" in why for why in finding["innocent"])


def slices(program: pathlib.Path, mode: str, folder: pathlib.Path) -> list[tuple[str, str]]:
    return [(f["kind"], f["severity"]) for f in report("analyze", kernel_core(program, mode, folder), program)["findings"]
            if f["kind"].startswith("go.")]


@pytest.mark.parametrize("mode,severity", [("record", None), ("queued", "info"), ("pooled", "info"), ("queued-in-use", "error"), ("in-map", "error")])
def test_slices_over_memory_that_was_unmapped(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                              mode: str, severity: str | None) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    assert slices(program, mode, tmp_path) == ([("go.slice.bad", severity)] if severity else [])
