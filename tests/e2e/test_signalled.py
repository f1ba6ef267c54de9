"""A Go process and its signals: the one that it dies of is told, and a healthy one is silent wherever it is stopped."""
import mmap
import pathlib
import shutil
import signal
import struct
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
    ("timer", "time.goFunc", 2),  # the timer is in no list any more, and its goroutine not yet made
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


def siginfos(core: pathlib.Path) -> list[int]:
    """Where the threads' siginfo notes lie in the file: signal number, errno and code, four bytes each."""
    with core.open("rb") as f:
        raw = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    (at,), (count,) = struct.unpack_from("<Q", raw, 32), struct.unpack_from("<H", raw, 56)
    note, size = next(struct.unpack_from("<QQQQ", raw, at + 56 * i + 8)[::3] for i in range(count) if raw[at + 56 * i] == 4)
    found, end = [], note + size
    while note < end:
        name, desc, kind = struct.unpack_from("<III", raw, note)
        if kind == 0x53494749:
            found.append(note + 12 + (name + 3 & -4))
        note += 12 + (name + 3 & -4) + (desc + 3 & -4)
    return found


@pytest.mark.skipif(GDB is None, reason="gdb is not installed")
def test_who_attaches_between_a_nil_dereference_and_its_panic_saw_no_death(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The moment is too short to hit: a core of gdb that stopped there gets the siginfo that attaching leaves in the other threads."""
    core = tmp_path / "core"
    said = subprocess.run([GDB, "-q", "-nx", "-batch", "-ex", "handle SIGURG SIGCHLD nostop noprint pass", "-ex", "run recovers",
                           "-ex", f"gcore {core}", "-ex", "kill", program], capture_output=True, text=True, timeout=300)
    if "received signal SIGSEGV" not in said.stdout or not core.exists():
        pytest.skip(f"gdb did not stop there: {said.stdout[-300:]}{said.stderr[-300:]}")
    try:
        assert [f["kind"] for f in report("analyze", core, program)["findings"]] == ["crash.fault"]
        with core.open("r+b") as f:
            notes = [(at, f.seek(at) and struct.unpack("<iii", f.read(12))) for at in siginfos(core)]
            (faulted,), stopped = [at for at, info in notes if info[0] == signal.SIGSEGV], [at for at, info in notes if info[0] == signal.SIGSTOP]
            assert stopped
            for at in stopped:
                f.seek(at)
                f.write(struct.pack("<iii", signal.SIGSTOP, 0, 0x80))  # SI_KERNEL
        found, = report("analyze", core, program)["findings"]
        assert (found["kind"], found["where"]) == ("crash.requested", None)
        with core.open("r+b") as f:
            f.seek(faulted)
            f.write(struct.pack("<iii", signal.SIGURG, 0, -6))  # of another goroutine's preemption
        found, = report("analyze", core, program)["findings"]
        assert (found["kind"], found["where"]) == ("crash.requested", None)
    finally:
        core.unlink()  # a gigabyte, dense
