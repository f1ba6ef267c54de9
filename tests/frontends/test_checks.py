"""What a finding tells a person to paste is pasted: the real gdb runs it, on cores whose names need quoting and on packed ones."""
import json
import os
import re
import shutil
import subprocess

import drive
import pytest
import support

pytestmark = pytest.mark.skipif(not drive.GDB, reason="gdb is not installed")


@pytest.fixture
def shelf(tmp_path):
    """A folder whose name a shell would take apart."""
    folder = tmp_path / "it's $HOME & more"
    folder.mkdir()
    return folder


def pasted(command, folder):
    """Run as a person does who copies the line; gdb is left by end of file."""
    environment = {**os.environ, "HOME": str(folder), "DEBUGINFOD_URLS": ""}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=120)
    return done.stdout


def findings(core, exe):
    run = support.incident("analyze", core, exe, "--format", "json")
    return [f for f in json.loads(run.out)["findings"] if f["severity"] != "info"]


@pytest.mark.cores(mode="orphan", build="dwarf", versions=("1.16", "1.24"))
@pytest.mark.parametrize("packed", [False, True])
def test_the_word_of_an_orphaned_lock(case, shelf, packed):
    core, exe = shelf / "core of today", shelf / case.exe.name
    shutil.copy(case.exe, exe)
    if packed:
        with core.with_suffix(".zst").open("wb") as out:
            subprocess.run(["zstd", "-q", "-c", case.core], stdout=out, check=True)
        core = core.with_suffix(".zst")
    else:
        os.symlink(case.core, core)
    finding = next(f for f in findings(core, exe) if f["kind"] == "go.mutex.orphaned")
    tools = [row["tool"] for row in finding["verify"]]
    assert ("zstd" in tools) == packed and "gdb" in tools
    shown = {row["tool"]: pasted(row["command"], shelf) for row in finding["verify"] if row["tool"] in ("zstd", "gdb")}
    address = finding["subject"]["address"]
    state = int(finding["evidence"][0]["value"], 16) & 0xffffffff
    words = re.search(rf"^{address}[^:]*:\s+(0x[0-9a-f]+)", shown["gdb"], re.M)
    assert words, shown
    assert int(words[1], 16) == state
