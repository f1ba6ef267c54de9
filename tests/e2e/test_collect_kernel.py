"""`incident collect` as the kernel's own core_pattern handler: real processes die, the kernel runs the handler and feeds it.

core_pattern belongs to the whole machine. So: only as root, only where it is a plain file pattern (nobody else's handler
is replaced), only where the kernel can start a program of this file system (not in most containers); otherwise the tests are
skipped, loudly. The handler in between gives every other process's core to the file that it would have become, and a watcher in a
session of its own puts the old pattern back even when pytest is killed.
"""
from __future__ import annotations

import collections.abc
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import warnings

import pytest
from support import BIN, CORPORA, incident, report

PATTERN = pathlib.Path("/proc/sys/kernel/core_pattern")
PREFIX = "ict_"  # of the processes whose cores we take: %e is cut at 15 bytes

# Its options stand in a file beside it: the kernel takes 127 bytes of pattern.
HANDLER = f"""#!/bin/bash
here=${{0%/*}}
case $4 in
{PREFIX}*) read -ra options < "$here/options"; exec "$here/incident" collect "${{options[@]}}" "$@" 2>>"$here/log";;
esac
exec cat > "/proc/$1/cwd/core"
"""
WATCHER = """trap '' INT TERM HUP; while kill -0 $0 2>/dev/null && [ -e "$2" ]; do sleep 0.2; done; printf %s "$1" > /proc/sys/kernel/core_pattern"""


class Kernel:
    """A folder with the handler in it; `died` runs a program to its death and waits for what the handler leaves."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.home = folder / "run"
        self.home.mkdir()

    def collect_into(self, shelf: pathlib.Path, *options: str, min_free: str = "1M") -> None:
        """The handler's options from now on. A machine that runs tests may have less free than collect's own --min-free, a gigabyte."""
        (self.folder / "options").write_text(" ".join((f"--dir={shelf}", f"--min-free={min_free}", *options)) + "\n")

    def died(self, program: pathlib.Path, *arguments: str, shelf: pathlib.Path, options: tuple[str, ...] = (), min_free: str = "1M",
             environment: dict[str, str] | None = None, cores: int = 1) -> dict:
        self.collect_into(shelf, *options, min_free=min_free)
        name = f"{PREFIX}{program.name.replace('.', '_')}"[:15]
        own = self.home / name
        shutil.copy(program, own)
        done = subprocess.run(["bash", "-c", 'ulimit -c unlimited; exec "$0" "$@"', own, *arguments], cwd=self.home, capture_output=True, timeout=60,
                              env={"PATH": "/usr/bin:/bin", **(environment or {})})
        assert done.returncode < 0, done.stderr[-2000:]
        own.unlink()  # as after the next deployment
        deadline = time.time() + 60
        found: list[pathlib.Path] = []
        while time.time() < deadline and len(found) < cores:
            found = [p for p in shelf.glob(f"core.{name}.*.json") if p.read_text().rstrip().endswith("}")]
            time.sleep(0.05)
        assert len(found) == cores, (found, (self.folder / "log").read_text() if (self.folder / "log").exists() else "no log")
        newest = max(found, key=lambda p: p.stat().st_mtime)
        return {**json.loads(newest.read_text()), "core": newest.with_suffix(".zst")}


@pytest.fixture
def kernel() -> collections.abc.Iterator[Kernel]:
    def not_here(why: str) -> None:
        warnings.warn(f"NOT TESTED: collect as the kernel's handler ({why})", stacklevel=3)
        pytest.skip(why)

    if os.geteuid() != 0:
        not_here("not root")
    old = PATTERN.read_text()
    if old.startswith("|"):
        not_here(f"core_pattern is another handler's: {old.strip()}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ict", dir="/tmp"))
    handler = folder / "h"
    handler.write_text(HANDLER)
    handler.chmod(0o755)
    (folder / "incident").symlink_to(BIN)
    alive = folder / "alive"
    alive.touch()
    watcher = subprocess.Popen(["bash", "-c", WATCHER, str(os.getpid()), old, alive], start_new_session=True)
    try:
        try:
            PATTERN.write_text(f"|{handler} %P %s %t %e")
        except OSError as error:
            not_here(f"core_pattern cannot be written: {error}")
        # Does the kernel start programs of our file system? In a container it looks in the host's.
        made = Kernel(folder)
        made.collect_into(folder / "probe")
        probe = folder / f"{PREFIX}probe"
        shutil.copy("/bin/sleep", probe)
        subprocess.run(["bash", "-c", f"ulimit -c unlimited; {probe} 100 & sleep 0.2; kill -ABRT $!; wait $!"], capture_output=True, timeout=30)
        deadline = time.time() + 5
        while time.time() < deadline and not list((folder / "probe").glob("*.json")):
            time.sleep(0.05)
        if not list((folder / "probe").glob("*.json")):
            not_here("the kernel does not start our handler: a container, or cores are forbidden")
        yield made
    finally:
        PATTERN.write_text(old)
        alive.unlink()
        watcher.wait(timeout=10)
        assert PATTERN.read_text() == old
        shutil.rmtree(folder, ignore_errors=True)


def gdb_frames(core: pathlib.Path, exe: pathlib.Path, folder: pathlib.Path) -> str:
    plain = folder / "plain.core"
    subprocess.run(["zstd", "-qdf", core, "-o", plain], check=True)
    return subprocess.run(["gdb", "-nx", "-batch", "-ex", "thread apply all bt 40", exe, plain], capture_output=True, text=True, timeout=120).stdout


def kept(shelf: pathlib.Path, about: dict) -> list[pathlib.Path]:
    return [shelf / ".build-id" / f["build_id"][:2] / f["build_id"][2:] for f in about["files"] if f["build_id"]]


def test_go_program(kernel: Kernel, tmp_path: pathlib.Path) -> None:
    shelf = tmp_path / "shelf"
    about = kernel.died(CORPORA / "go1.27" / "exe.dwarf", "nilderef", shelf=shelf, environment={"GOTRACEBACK": "crash"})
    assert about["cut"] is None and about["signal"] == 6 and about["name"].startswith(PREFIX)
    assert all(p.is_file() for p in kept(shelf, about)) and about["core"].with_suffix(".exe").exists()
    crash = report("crash", about["core"])  # its executable is gone from where it was: found beside the core
    assert crash["crash"]["kind"] == "go-panic" and "nil pointer" in crash["crash"]["message"]
    assert crash["input"]["executable"]["status"] == "verified" and not crash["input"]["core"]["truncated"]
    assert any(f["function"] == "main.(*account).ownerName" for f in crash["crash"]["frames"])
    if shutil.which("gdb"):
        assert "main.(*account).ownerName" in gdb_frames(about["core"], about["core"].with_suffix(".exe"), tmp_path)


def test_c_program_of_several_threads(kernel: Kernel, tmp_path: pathlib.Path) -> None:
    shelf = tmp_path / "shelf"
    about = kernel.died(CORPORA / "native-glibc-2.36" / "exe.O2", "pt_orphan", shelf=shelf)
    assert about["cut"] is None
    assert {pathlib.Path(f["path"]).name.split("-")[0].split(".so")[0] for f in about["files"]} >= {"libc", "ld"}, about["files"]
    assert all(p.is_file() for p in kept(shelf, about))
    found = report("analyze", about["core"])
    assert len(found["threads"]) >= 4
    assert {f["kind"] for f in found["findings"] if f["severity"] == "error"} <= {"native.mutex.orphaned", "crash.abort"}
    assert any(f["kind"] == "native.mutex.orphaned" for f in found["findings"])
    if shutil.which("gdb"):
        assert gdb_frames(about["core"], about["core"].with_suffix(".exe"), tmp_path).count("cache_lock") >= 3


def test_core_larger_than_its_bound(kernel: Kernel, tmp_path: pathlib.Path) -> None:
    shelf = tmp_path / "shelf"
    about = kernel.died(CORPORA / "go1.27" / "exe.dwarf", "nilderef", shelf=shelf, options=("--max-core=20M",), environment={"GOTRACEBACK": "crash"})
    assert "20971520 bytes" in about["cut"] and 0 < about["bytes"] <= 20 << 20
    crash = report("crash", about["core"])
    assert crash["input"]["core"]["truncated"] and crash["input"]["executable"]["status"] == "verified"
    assert incident("triage", shelf).code in (1, 3)


@pytest.mark.parametrize("min_free", ["0", "40K"])
def test_disk_is_full(kernel: Kernel, tmp_path: pathlib.Path, min_free: str) -> None:
    """A tmpfs smaller than the packed core: what is left is whole frames, and the process is let go."""
    shelf = tmp_path / "small"
    shelf.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200K,mode=700", "none", shelf], capture_output=True).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        about = kernel.died(CORPORA / "go1.27" / "exe.dwarf", "heap", shelf=shelf, min_free=min_free, environment={"GOTRACEBACK": "crash"})
        if about["cut"] is None:
            pytest.fail(f"it fitted: {about['packed_bytes']} bytes")
        assert 0 < about["packed_bytes"] < 200 << 10 and not list(shelf.glob("*.partial"))
        raw = subprocess.run(["zstd", "-dc", about["core"]], capture_output=True)
        assert raw.returncode == 0 and len(raw.stdout) == about["bytes"], "whole frames"
        crash = report("crash", about["core"], CORPORA / "go1.27" / "exe.dwarf")
        assert crash["input"]["core"]["truncated"]
    finally:
        subprocess.run(["umount", "-l", shelf], check=True)
