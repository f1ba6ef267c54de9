"""A thread that C made dies in a Go process: Go's handler runs on that thread's own stack, and sends the signal again."""
import os
import pathlib
import shutil
import subprocess

import pytest
from support import kernel_core, report

HERE = pathlib.Path(__file__).parent
GO = shutil.which("go")
pytestmark = pytest.mark.skipif(GO is None or not shutil.which("gcc"), reason="go or gcc is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("foreign")
    shutil.copy(HERE / "foreign.go", folder)
    environment = os.environ | {"GO111MODULE": "off", "GOPROXY": "off", "CGO_ENABLED": "1", "GOTOOLCHAIN": "local"}
    subprocess.run([GO, "build", "-o", "program", "foreign.go"], cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "program"


@pytest.mark.parametrize("how,kind,function", [("abort", "crash.abort", "give_up"), ("fault", "crash.fault", "read_null")])
def test_its_death_is_the_crash(program: pathlib.Path, tmp_path: pathlib.Path, how: str, kind: str, function: str) -> None:
    r = report("crash", kernel_core(program, how, tmp_path), program)
    assert r["findings"][0]["kind"] == kind and r["findings"][0]["where"].startswith(f"{function} (foreign.go:")
    # Not the goroutine that the handler borrowed.
    assert r["crash"]["goroutine"] is None and r["findings"][0]["where"].endswith(f"thread {r['crash']['thread']}")
    own = [f["function"] for f in r["crash"]["frames"] if not f["runtime_internal"]]
    assert own[0] == function and own[1] == "work"
