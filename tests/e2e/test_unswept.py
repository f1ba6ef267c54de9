"""What the collection that is being swept left unmarked is garbage, whatever a frame's leavings say."""
import os
import pathlib
import subprocess

import pytest
from support import GO, build_go, incident

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None, reason="go is not installed")


def test_a_leaving_keeps_nothing_alive(tmp_path: pathlib.Path) -> None:
    program = build_go(HERE / "unswept.go", tmp_path / "program")
    for _ in range(8):  # the sweeper may have been everywhere before the signal came
        run = subprocess.run(["sh", "-c", f"ulimit -c unlimited; cd {tmp_path}; exec {program}"], check=False, capture_output=True,
                             text=True, timeout=60, env=os.environ | {"GOTRACEBACK": "crash"})
        cores = [p for p in tmp_path.iterdir() if p.name.startswith("core")]
        if not cores:
            pytest.skip("this machine leaves no cores in the working directory")
        told = [incident("heap", "--roots", word, cores[0], program).out for word in run.stdout.split()]
        cores[0].unlink()
        if unswept := [text for text in told if "garbage, not swept yet" in text]:
            assert all("nothing keeps it alive" in text for text in unswept), unswept[0]
            return
    pytest.skip("everything was swept each time")
