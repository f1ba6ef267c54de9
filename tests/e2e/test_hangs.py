"""Hangs without an owner to accuse: every thread sleeps for what only another could give. Said in words, not as a finding."""
import pathlib
import shutil
import subprocess

import pytest
from support import incident, kernel_core

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
SAYS = {True: "no thread can wake another, unless a signal handler does", False: "nothing can wake it, unless a signal handler does"}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("hangs") / "hangs"
    subprocess.run(["gcc", "-g", "-O1", "-w", "-pthread", HERE / "hangs.c", "-o", out], check=True)
    return out


@pytest.mark.parametrize("how,nobody", [
    ("condition", True),
    ("barrier", True),
    ("upgrade", True),
    ("condition-timed", False),
    ("pause", False),  # one more thread, in a system call that ends with a signal
])
def test_hang(program: pathlib.Path, tmp_path: pathlib.Path, how: str, nobody: bool) -> None:
    core = kernel_core(program, how, tmp_path)
    run = incident("analyze", core, program, "--format", "json")
    assert run.code == 0 and [(f["kind"], f["severity"]) for f in run.json["findings"]] == [("crash.requested", "info")]
    says = SAYS[how != "upgrade"]
    assert (says in str(run.json["findings"][0]["explanation"])) == nobody
    text = " ".join(incident("analyze", core, program).out.split())
    # In WHY, and above the table of threads where there are several.
    assert text.count(says) == (0 if not nobody else 1 if how == "upgrade" else 2)
