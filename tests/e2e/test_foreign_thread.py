"""A thread that C made dies in a Go process: Go's handler runs on that thread's own stack, and sends the signal again."""
import pathlib
import shutil

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None or not shutil.which("gcc"), reason="go or gcc is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_go(HERE / "foreign.go", tmp_path_factory.mktemp("foreign") / "program", cgo=True)


@pytest.mark.parametrize("how,kind,function", [("abort", "crash.abort", "give_up"), ("fault", "crash.fault", "read_null")])
def test_its_death_is_the_crash(program: pathlib.Path, tmp_path: pathlib.Path, how: str, kind: str, function: str) -> None:
    r = report("crash", kernel_core(program, how, tmp_path), program)
    assert r["findings"][0]["kind"] == kind and r["findings"][0]["where"].startswith(f"{function} (foreign.go:")
    # Not the goroutine that the handler borrowed.
    assert r["crash"]["goroutine"] is None and r["findings"][0]["where"].endswith(f"thread {r['crash']['thread']}")
    own = [f["function"] for f in r["crash"]["frames"] if not f["runtime_internal"]]
    assert own[0] == function and own[1] == "work"
