"""Who waits for a pool waits for those who have something to give back, not for the others in the queue."""
import pathlib

from support import go_core, incident, report


def test_busy(tmp_path: pathlib.Path) -> None:
    """More clients in the queue than a waiter gets edges: they hide nobody who will give something back."""
    core, program = go_core("pools", "busy", tmp_path)
    r = report("analyze", core, program)
    assert [f["kind"] for f in r["findings"]] == ["crash.requested"], r["findings"]
    graph = r["wait_graph"]
    assert graph["cycles"] == []
    serving = {g["id"] for g in r["goroutines"] if any(f["function"] == "main.(*pool).serve" for f in g["frames"])}
    assert len(serving) == 2 and {b["goroutine"] for b in graph["blockers"]} == serving
    assert all(b["total"] == 101 and not b["in_cycle"] for b in graph["blockers"])
    text = incident("analyze", core, program).out
    assert "and 1 more like it" in text and "in a cycle" not in text


def test_circle(tmp_path: pathlib.Path) -> None:
    """The one that has something to give back waits for a lock of who waits for that."""
    r = report("analyze", *go_core("pools", "circle", tmp_path))
    kinds = [f["kind"] for f in r["findings"] if f["severity"] != "info"]
    assert kinds == ["lock.cycle"], r["findings"]
    asking = next(g["id"] for g in r["goroutines"] if any(f["function"] == "main.(*pool).inspect" for f in g["frames"]))
    assert asking in r["findings"][0]["goroutines"]
