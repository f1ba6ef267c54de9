"""lock.cycle over a lock and a channel: told when nobody else can serve the channel, and not when somebody may."""
import pathlib

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None, reason="go is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_go(HERE / "circles.go", tmp_path_factory.mktemp("circles") / "program")


@pytest.mark.parametrize("mode,kinds", [("nobody", ["lock.cycle"]), ("sleeper", []), ("selects", [])])
def test_a_circle_is_one_when_nobody_can_break_it(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                                  mode: str, kinds: list[str]) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    r = report("analyze", kernel_core(program, mode, tmp_path), program)
    assert [f["kind"] for f in r["findings"] if f["severity"] != "info"] == kinds, r["findings"]
    assert any(k["waiters"] and k["holders"] for k in r["locks"])
