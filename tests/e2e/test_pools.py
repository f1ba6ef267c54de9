"""Who waits for a pool waits for those who have something to give back, not for the others in the queue."""
import pathlib

import pytest
from support import GO, build_go, incident, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None, reason="go is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_go(HERE / "pools.go", tmp_path_factory.mktemp("pools") / "pools")


def test_busy(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More clients in the queue than a waiter gets edges: they hide nobody who will give something back."""
    monkeypatch.setenv("GOTRACEBACK", "crash")
    core = kernel_core(program, "busy", tmp_path)
    r = report("analyze", core, program)
    assert [f["kind"] for f in r["findings"]] == ["crash.requested"], r["findings"]
    graph = r["wait_graph"]
    assert graph["cycles"] == []
    serving = {g["id"] for g in r["goroutines"] if any(f["function"] == "main.(*pool).serve" for f in g["frames"])}
    assert len(serving) == 2 and {b["goroutine"] for b in graph["blockers"]} == serving
    assert all(b["total"] == 101 and not b["in_cycle"] for b in graph["blockers"])
    text = incident("analyze", core, program).out
    assert "and 1 more like it" in text and "in a cycle" not in text


def test_circle(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has something to give back waits for a lock of who waits for that."""
    monkeypatch.setenv("GOTRACEBACK", "crash")
    r = report("analyze", kernel_core(program, "circle", tmp_path), program)
    kinds = [f["kind"] for f in r["findings"] if f["severity"] != "info"]
    assert kinds == ["lock.cycle"], r["findings"]
    asking = next(g["id"] for g in r["goroutines"] if any(f["function"] == "main.(*pool).inspect" for f in g["frames"]))
    assert asking in r["findings"][0]["goroutines"]
