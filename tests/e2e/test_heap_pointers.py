"""Pointers that lie and broken frames, against the heap corpus: every plant found with address and holder, healthy twins silent."""
import re

import pytest
from planted import Planted, each, of, planted

KINDS = ("go.pointer", "go.frame")
CORES = [c for c in planted("heap", "heap-go1.*") if not c.case["sick"] or c.case["expect"][0]["kind"].startswith(KINDS)]


@each(CORES)
def test_case(core: Planted) -> None:
    run = core.analyze("--only", "go.pointer", "--only", "go.frame-pointer", "--only", "go.frame-chain")
    core.judge(run)
    for finding in run.json["findings"]:
        assert finding["verify"] and finding["evidence"] and finding["subject"]["address"], finding["kind"]


@pytest.mark.parametrize(("mode", "words"), [
    ("dangle_return", ["DEAD part", "theHolder.where", "goroutine"]),
    ("dangle_move", ["freed stack of 2048 B", "theHolder.where"]),
    ("freed_slot", ["free slot", "64 B objects", "theHolder.where"]),
    ("freed_pointer", ["free slot", "heapShelf.item"]),
    ("freed_page", ["free page of the Go heap", "theHolder.where"]),
    ("offheap_only", ["field item of the main.shelf", "no root leads to", ", anonymous mapping,"]),
    ("bad_pointer", ["found bad pointer in Go heap", "blob.data["]),
    ("chain_ret", ["return address of main.smash", "0x4242424242424242", "BBBBBBBB"]),
    ("chain_bp", ["saved frame pointer of main.smash", "0x4141414141414140"]),
])
def test_report_names_holder_and_state(mode: str, words: list[str]) -> None:
    for core in of(CORES, f"dwarf.{mode}"):
        out = core.print("analyze")
        flat = re.sub(r"\s+", " ", out)
        missing = [w for w in words if w not in flat]
        assert not missing, (core, missing)
        assert "gdb " in out and " of 1 ━━" in out or "1 of 1" in out, core
