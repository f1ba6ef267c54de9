"""A Go process and its signals: the one that it dies of is told, and a healthy one is silent wherever it is stopped."""
import pathlib
import shutil
import signal
import subprocess

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
GDB = shutil.which("gdb")
pytestmark = pytest.mark.skipif(GO is None, reason="go is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_go(HERE / "signalled.go", tmp_path_factory.mktemp("signalled") / "program")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGFPE"])
def test_what_it_sends_itself_is_told_and_not_what_the_runtime_sends_round(
        program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    finding, = report("crash", kernel_core(program, str(int(signal.Signals[name])), tmp_path), program)["findings"]
    assert (finding["kind"], finding["title"]) == ("crash.fault", f"the program sent itself {name}")


@pytest.mark.skipif(GDB is None, reason="gdb is not installed")
@pytest.mark.parametrize("mode,place,skip", [
    ("children", f"runtime.sigtrampgo if $eax == {int(signal.SIGCHLD)}", 0),
    ("recovers", f"runtime.sigtrampgo if $eax == {int(signal.SIGSEGV)}", 0),
    ("stores", "runtime.wbBufFlush", 3),  # the length of a slice is there, and its pointer is not yet
    ("deep", "runtime.adjustframe", 400),  # of a stack that moves, the inner frames have and the outer ones have not
])
def test_a_healthy_program_that_is_stopped_at_an_odd_moment(program: pathlib.Path, tmp_path: pathlib.Path, mode: str, place: str,
                                                            skip: int) -> None:
    core = tmp_path / "core"
    said = subprocess.run([GDB, "-q", "-nx", "-batch", "-ex", "handle all nostop noprint pass",
                           "-ex", f"break {place}", "-ex", f"ignore 1 {skip}", "-ex", f"run {mode}", "-ex", f"gcore {core}", "-ex", "kill", program],
                          capture_output=True, text=True, timeout=300)
    if "hit Breakpoint 1" not in said.stdout or not core.exists():
        pytest.skip(f"gdb did not stop there: {said.stdout[-300:]}{said.stderr[-300:]}")
    try:
        r = report("analyze", core, program)
        assert [f["kind"] for f in r["findings"] if f["severity"] != "info"] == [], r["findings"]
        assert r["crash"]["kind"] == "requested"
    finally:
        core.unlink()  # a gigabyte, dense
