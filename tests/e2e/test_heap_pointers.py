"""Pointers that lie and broken frames, against the heap corpus: every plant found with address and holder, healthy twins silent."""
import pathlib
import re
import struct
import subprocess

import mutate
import pytest
import support
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


def test_two_pointers_side_by_side_are_no_interface(tmp_path: pathlib.Path) -> None:
    """The words of the interface that names the object are moved to where the collector knows of two pointers: a type made at run
    time with its arguments' types looks like that, in a server that registers thousands."""
    planted, = of([c for c in CORES if c.folder.parent.name == "heap-go1.27"], "dwarf.offheap_only")
    (finding,) = (f for f in planted.analyze("--only", "go.pointer").json["findings"] if f["kind"] == "go.pointer.offheap-only")
    (interface,) = (int(e["address"], 16) for e in finding["evidence"] if e["by"] == "interface value")

    def words(at: int, count: int) -> list[int]:
        return [int(w["value"], 16) for w in planted.report("read", hex(at), count)["words"]]

    allgs = next(int(line.split()[0], 16) for line in subprocess.run(["nm", planted.exe], capture_output=True, text=True).stdout.splitlines()
                 if line.endswith(" runtime.allgs"))
    record = words(words(allgs, 1)[0] + 8, 1)[0] + 0x20  # g._panic, g._defer; go1.16-1.27 src/runtime/runtime2.go
    core = tmp_path / "core"
    subprocess.run(["cp", "--sparse=always", planted.core, core], check=True)
    with core.open("r+b") as file:
        for at, (first, second) in ((record, words(interface, 2)), (interface, (0, 0))):
            offset = next(offset + at - begin for offset, size, begin in mutate.loads(core) if begin <= at < begin + size)
            file.seek(offset)
            file.write(struct.pack("<2Q", first, second))
    report = support.incident("analyze", core, planted.exe, "--only", "go.pointer", "--format", "json").json
    # The variable that leads there has a type of its own; nothing may be told by the two pointers.
    assert [e for f in report["findings"] for e in f["evidence"] if e["by"] == "interface value" or e["address"] == hex(record)] == []
