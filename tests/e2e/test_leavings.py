"""What only words keep that may be no pointers may be garbage, or of another type than a leaving claims: nobody is accused on its word.
Nor are objects that wait to be used again, with what they had before, and the standard library's records of mappings."""
import pathlib
import shutil
import subprocess

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


BARRIER = "runtime.wbBufFlush1 if {words}[0] != 0 && {words}[1] == 0".format(words="((unsigned long *) (*(unsigned long *) &'main.held' + 24))")


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
@pytest.mark.parametrize("mode,first,place,remark", [
    ("barrier", "'main.put'", BARRIER, "go.interface.bad"),  # between the type and the value
    ("entry", "'main.pass'", "*'main.enter'", None),         # the registers of its arguments are not spilled yet
])
def test_what_gdb_stops_in_the_middle(program: pathlib.Path, tmp_path: pathlib.Path, mode: str, first: str, place: str, remark: str | None) -> None:
    core = tmp_path / "core"
    said = subprocess.run(["gdb", "-q", "-nx", "-batch", "-ex", "handle all nostop noprint pass", "-ex", f"break {first}", "-ex", f"run {mode}",
                           "-ex", "disable 1", "-ex", "set language c", "-ex", f"tbreak {place}", "-ex", "continue", "-ex", f"gcore {core}", "-ex", "kill", program],
                          check=False, capture_output=True, text=True, timeout=120)
    if "hit Temporary breakpoint 2" not in said.stdout or not core.exists():
        pytest.skip(f"gdb did not stop there: {said.stdout[-300:]}{said.stderr[-300:]}")
    try:
        r = report("analyze", core, program)
        assert [f for f in r["findings"] if f["severity"] != "info"] == []
        if remark is not None:
            (torn,) = [f for f in r["findings"] if f["kind"] == remark]
            assert any("may just be storing" in why for why in torn["innocent"])
    finally:
        core.unlink()  # large
