"""Locks that are taken and given back under a condition: on some path of the code one is given back that it has not taken."""
import pathlib

import pytest
from support import go_core, report


@pytest.mark.parametrize("mode", ["waits", "readers", "writers"])
def test_who_waits_for_a_lock_that_another_holds_is_in_no_circle(tmp_path: pathlib.Path, mode: str) -> None:
    r = report("analyze", *go_core("conditional_locks", mode, tmp_path))
    assert [f["kind"] for f in r["findings"] if f["severity"] != "info"] == []
    (lock,) = [k for k in r["locks"] if k["where"].endswith("main.b.mu" if mode == "waits" else "main.table")]
    (holder,) = [g for g in r["goroutines"] if any(f["function"] in ("main.sleeper", "main.reader") for f in g["frames"])]
    known = [h["goroutine"] for h in lock["holders"] if h["strength"] != "possible"]
    assert known == [holder["id"]]


def test_who_holds_it_on_some_path_is_in_one_where_nobody_else_does(tmp_path: pathlib.Path) -> None:
    r = report("analyze", *go_core("conditional_locks", "crossed", tmp_path))
    (finding,) = [f for f in r["findings"] if f["severity"] != "info"]
    assert (finding["kind"], finding["severity"], finding["strength"]) == ("lock.cycle", "warning", "possible")
    assert len(finding["goroutines"]) == 2
