"""The scripts in docs/python.md run as they stand."""
from __future__ import annotations

import os
import re
import subprocess
import sys

import conftest
import support

PAGE = (support.ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def run(script: str, *arguments: object, cwd: object = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(conftest.PACKAGE)}
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env=environment, cwd=cwd)


def test_ten_lines(crashed):
    done = run(BLOCKS[0], crashed.core, crashed.exe)
    assert done.returncode == 1, done.stderr
    assert "error (proved) crash.panic: nil pointer dereference" in done.stdout


def test_questions(tmp_path):
    case = support.cases(mode="orphan", build="dwarf")[-1]
    (tmp_path / "core").symlink_to(case.core)
    (tmp_path / "service").symlink_to(case.exe)
    done = run(BLOCKS[1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^0x[0-9a-f]+ sync.Mutex .*nobody found who holds it; 3 wait$", done.stdout, re.M)
    assert re.search(r"^[0-9a-f]{32}$", done.stdout, re.M)


def test_every_block_is_tested():
    assert len(BLOCKS) == 2


def test_the_on_call_page_shows_what_is_printed():
    """Its report is the real one of the bundled core, line by line."""
    page = (support.ROOT / "docs" / "on-call.md").read_text()
    shown = re.search(r"```\n(WHAT .*?)```", page, re.S)[1]
    case = next(c for c in support.cases(mode="orphan", build="dwarf") if c.version == "1.25")
    assert shown in support.incident("analyze", case.core, case.exe).out
    question = re.search(r"```python\n(.*?)```", page, re.S)[1]
    done = run(f"import incident\nprocess = incident.open({str(case.core)!r}, {str(case.exe)!r})\n{question}")
    assert done.returncode == 0 and "sync.Mutex.Lock" in done.stdout, done.stderr


def test_the_heap_page_shows_what_is_printed():
    """Each line of its examples is one that the command prints for the bundled core."""
    page = (support.ROOT / "docs" / "heap.md").read_text()
    folder = support.CORPORA / "heap-go1.27"
    core, exe = folder / "dwarf.graph" / "core", folder / "exe.dwarf"
    blocks = re.findall(r"```\n\$ incident heap CORE EXE(.*)\n((?:.*\n)+?)```", page)
    assert len(blocks) == 3
    for words, shown in blocks:
        printed = support.incident("heap", core, exe, *words.split()).out.splitlines()
        assert [line for line in shown.splitlines() if line not in printed and line != "…"] == []


def test_the_readme_shows_what_is_printed():
    """The report at its top is the demo's: `make demo` prints the same core."""
    shown = re.search(r"```\n(incident .*?)…\n```", (support.ROOT / "README.md").read_text(), re.S)[1]
    case = next(c for c in support.cases(mode="nilderef", build="dwarf") if c.version == "1.25")
    assert support.incident("analyze", case.core, case.exe).out.startswith(shown)
