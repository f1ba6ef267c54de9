"""A goroutine that is stopped in the middle of Unlock still holds the lock, as far as its words say; nothing that its
code does next gives it back."""
import os
import pathlib
import resource
import shutil
import subprocess

import pytest
from support import GO, build_go, bundled_core, report

HERE = pathlib.Path(__file__).parent
PATTERN = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
HARD = (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2
CAN = GO is not None and shutil.which("gdb") is not None and PATTERN in ("core", "core.%p") and HARD[0] != 0


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path | None:
    """None: they cannot be stopped here, the bundled cores must do."""
    if not CAN:
        return None
    folder = tmp_path_factory.mktemp("giving_back")
    for name, flags in (("plain", []), ("noopt", ["-gcflags=all=-N -l"])):
        build_go(HERE / "giving_back.go", folder / name, *flags)
    return folder


def core_at(program: pathlib.Path, what: str, function: str, folder: pathlib.Path) -> pathlib.Path:
    """The core of an abort that comes when the function is about to run."""
    script = folder / "commands"
    script.write_text(f"""set pagination off
handle SIGURG SIGABRT SIGQUIT nostop noprint pass
break main.want
run {what} >/dev/null 2>&1
disable 1
tbreak '{function}'
continue
signal SIGABRT
""")
    subprocess.run(["gdb", "--batch", "-x", script, program], cwd=folder, env=os.environ | {"GOTRACEBACK": "crash"}, timeout=60,
                   capture_output=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, HARD))
    cores = list(folder.glob("core*"))
    assert len(cores) == 1
    return cores[0]


@pytest.mark.parametrize("build,what,function", [
    ("plain", "writer", "sync.(*RWMutex).Unlock"), ("plain", "reader", "sync.(*RWMutex).rUnlockSlow"),
    ("plain", "group", "sync.(*WaitGroup).Add"), ("noopt", "mutex", "sync.(*Mutex).Unlock"),
    ("noopt", "reader", "sync.(*RWMutex).RUnlock"), ("noopt", "group", "sync.(*WaitGroup).Done"),
    ("plain", "reader", "runtime.semrelease1"), ("noopt", "reader", "runtime.semrelease1")])
def test_who_is_giving_it_back_is_its_holder(programs: pathlib.Path | None, tmp_path: pathlib.Path, build: str, what: str,
                                             function: str) -> None:
    if programs is None and build != "plain":
        pytest.skip("go or gdb is not installed, and there is no bundled core")
    core, program = bundled_core("giving_back", what) if programs is None else (core_at(programs / build, what, function, tmp_path), programs / build)
    r = report("analyze", core, program)
    assert [f["kind"] for f in r["findings"] if f["kind"].startswith("go.")] == []
    (lock,) = r["locks"]
    (holder,) = lock["holders"]
    giving = next(g for g in r["goroutines"] if any(f["function"] == "main.give" for f in g["frames"]))
    assert holder["goroutine"] == giving["id"] and holder["strength"] == "likely"
    if programs is not None:
        core.unlink()


@pytest.mark.parametrize("build", ["plain", "noopt"])
@pytest.mark.parametrize("what", ["mutex", "writer", "group"])
def test_who_wakes_the_next_one_has_given_it_back(programs: pathlib.Path | None, tmp_path: pathlib.Path, build: str, what: str) -> None:
    if programs is None:
        pytest.skip("go or gdb is not installed")
    core = core_at(programs / build, what, "runtime.semrelease1", tmp_path)
    r = report("analyze", core, programs / build)
    assert [f["kind"] for f in r["findings"] if f["kind"].startswith("go.")] == []
    assert all(lock["holders"] == [] for lock in r["locks"])
    core.unlink()
