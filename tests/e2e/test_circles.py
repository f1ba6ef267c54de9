"""lock.cycle over a lock and a channel: told when nobody else can serve the channel, and not when somebody may."""
import pathlib

import pytest
from support import go_core, report


@pytest.mark.parametrize("mode,kinds", [("nobody", ["lock.cycle"]), ("sleeper", []), ("selects", [])])
def test_a_circle_is_one_when_nobody_can_break_it(tmp_path: pathlib.Path, mode: str, kinds: list[str]) -> None:
    r = report("analyze", *go_core("circles", mode, tmp_path))
    assert [f["kind"] for f in r["findings"] if f["severity"] != "info"] == kinds, r["findings"]
    assert any(k["waiters"] and k["holders"] for k in r["locks"])
