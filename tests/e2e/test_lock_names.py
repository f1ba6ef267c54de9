"""A lock is named as Go code names it, also where it is the first field of a variable, whose address it has."""
import pathlib

from support import go_core, report


def test_first_fields(tmp_path: pathlib.Path) -> None:
    r = report("analyze", *go_core("lock_names", "", tmp_path))
    names = {"main.totals.mu", "main.stats.mu", "main.bare"}
    assert {f["subject"]["symbol"] for f in r["findings"] if f["kind"] == "go.mutex.orphaned"} == names
    assert {lock["where"] for lock in r["locks"]} == names
