"""The locks inside sync.Map: who is in the middle of an operation holds one, and gives it back."""
import pathlib

import pytest
from support import go_core, report


@pytest.mark.parametrize("flags", [(), ("-ldflags=-s -w",)], ids=["dwarf", "stripped"])
def test_an_operation_that_takes_long_is_no_orphaned_lock(tmp_path: pathlib.Path, flags: tuple[str, ...]) -> None:
    for attempt in range(6):  # on a busy machine the core may be taken while nobody happens to wait
        folder = tmp_path / str(attempt)
        folder.mkdir()
        r = report("analyze", *go_core("sync_map", "", folder, *flags))
        assert [f["kind"] for f in r["findings"] if f["severity"] != "info"] == [], r["findings"]
        if any(k["waiters"] for k in r["locks"]):
            return
    pytest.fail("nobody waits, six times")
