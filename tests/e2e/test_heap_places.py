"""Headers in variables of frames, map iterators in heap objects, and what only looks like a pointer to something freed: every plant found, every twin silent."""
import re

import pytest
from planted import Planted, each, of, planted

CORES = planted("heap", "places-go1.*")


def frame_of(core: Planted, function: str) -> str:
    """What is printed of the frame of the goroutine that waits in this function."""
    goid = re.search(rf"^goroutine id=(\d+) .* in={re.escape(function)} ", (core.folder / "truth.txt").read_text(errors="replace"), re.M)
    assert goid
    out = core.print("goroutine", goid[1])
    return re.sub(r"\s*│?\s+", " ", out[out.index(f" {function} "):])


@each(CORES)
def test_case(core: Planted) -> None:
    core.judge(core.analyze())


@pytest.mark.parametrize("mode", ["stack_slice", "stack_string", "stack_iface"])
def test_a_header_in_a_frame_is_named_by_its_variable(mode: str) -> None:
    for core in of(CORES, f"noopt.{mode}"):
        (finding,) = (f for f in core.analyze().json["findings"] if not f["kind"].startswith("crash."))
        name, function = {"stack_slice": ("body", "main.parkWithSlice"), "stack_string": ("title", "main.parkWithString"), "stack_iface": ("any", "main.parkWithIface")}[mode]
        assert finding["subject"]["symbol"] == name and f"variable {name} of {function}" in finding["where"]
        assert finding["goroutines"] and finding["snapshots"]


def test_the_twins_hold_what_they_are_about() -> None:
    """Silence counts only beside something to be silent about."""
    for core in of(CORES, "noopt.stack_headers"):
        assert "(impossible)" in frame_of(core, "main.parkWithRight"), core
    for core in of(CORES, "noopt.left_over"):
        assert "FREE" in frame_of(core, "main.parkOnLeftOvers"), core
    for core in (c for c in CORES if c.mode == "one_past"):
        (end,) = re.findall(r"name=theWindow .*value=(0x[0-9a-f]+)", (core.folder / "truth.txt").read_text(errors="replace"))
        assert "FREE" in core.print("locate", end), core


def test_a_map_that_only_an_iterator_holds_says_so() -> None:
    for core in (c for c in CORES if c.mode == "iterator_bad"):
        (finding,) = (f for f in core.analyze().json["findings"] if f["kind"] == "go.map.corrupt")
        assert any("iterator over it" in e["what"] for e in finding["evidence"]), core


def test_what_only_an_iterator_still_walks_has_a_type() -> None:
    """Its map has grown since: the old array of buckets is a fifth of this heap in Go 1.16."""
    for core in of(CORES, "noopt.iterator_right"):
        totals = core.report("heap")["heap"]["totals"]
        assert totals["typed_live_bytes"] >= 0.998 * totals["live_bytes"], core
