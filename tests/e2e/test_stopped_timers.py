"""Who waits for a timer that does not run waits for ever, unless somebody who goes on holds that timer."""
import pathlib

import pytest
from support import go_core, report


@pytest.mark.parametrize("mode", ["leaks", "healthy"])
def test_stopped_timers(mode: str, tmp_path: pathlib.Path) -> None:
    r = report("analyze", *go_core("stopped_timers", mode, tmp_path))
    found = [f for f in r["findings"] if f["severity"] != "info"]
    assert {f["kind"] for f in found} <= {"go.goroutine.leaked"}
    top = {g["id"]: next((f["function"] for f in g["frames"] if f["function"].startswith("main.")), "") for g in r["goroutines"]}
    who = sorted(top[i] for f in found for i in f["goroutines"])
    leaks = ["main.fired", "main.stopped", "main.stoppedOrNever", "main.tickerStopped"]
    assert who == (leaks if mode == "leaks" else []), found
    if mode == "leaks":
        assert any("of a timer that does not run" in g["blocked_on"]["what"] for g in r["goroutines"] if g["blocked_on"])
        assert all("Reset it" in f["remedy"] for f in found if len(f["snapshots"]) and top[f["goroutines"][0]] != "main.stoppedOrNever")
