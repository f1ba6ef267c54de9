"""malloc, pointers into freed memory, gone frames and the border with Go, on the bundled native and cgo corpora: what
case.json says must be found, and nothing on the healthy twins."""
from __future__ import annotations

import json
import pathlib
import re

import pytest
from support import CORPORA, ROOT, Truth, incident, report

KINDS = ("native.heap.", "native.pointer.", "native.hash.", "native.frame", "cgo.pointer.")
OTHERS = ("native.mutex", "native.rwlock", "lock.cycle")


def cores() -> list[tuple[pathlib.Path, dict]]:
    found = []
    for corpus in ("native", "cgo"):
        cases = {p.parent.name: json.loads(p.read_text()) for p in (ROOT / "corpora" / corpus / "cases").glob("*/case.json")}
        for core in sorted(CORPORA.glob(f"{corpus}-*/*.*/core")):
            mode = re.sub(r"-(gcore|quit)$", "", core.parent.name.split(".", 1)[1])
            if mode in cases and not any(e["kind"].startswith(OTHERS) for e in cases[mode]["expect"]):
                found.append((core, cases[mode]))
    return found


ALL = cores()


def exe(core: pathlib.Path) -> pathlib.Path:
    return core.parents[1] / ("exe." + core.parent.name.split(".", 1)[0])


@pytest.mark.skipif(not ALL, reason="no native or cgo bundle is unpacked")
@pytest.mark.parametrize("core,case", ALL, ids=[f"{c.parents[1].name}-{c.parent.name}" for c, _ in ALL])
def test_case(core: pathlib.Path, case: dict) -> None:
    r = report("analyze", core, exe(core))
    alarms = [f for f in r["findings"] if f["severity"] in ("warning", "error") and f["kind"].startswith(KINDS)]
    objects = Truth((core.parent / "truth.txt").read_text(errors="replace")).objects()
    for want in case["expect"]:
        at = int(objects[want["subject"]]["addr"], 16)
        mine = [f for f in alarms if f["kind"] == want["kind"] and f["subject"]["address"] and at <= int(f["subject"]["address"], 16) < at + 64]
        assert mine, (want, [(f["kind"], f["subject"], f["title"]) for f in alarms])
        if "message" in want:
            assert any(want["message"] in e["value"] for e in mine[0]["evidence"])
        assert mine[0]["evidence"] and mine[0]["verify"]
        alarms.remove(mine[0])
    assert alarms == []


NATIVE = [c for c in ALL if c[0].parents[1].name.startswith("native-")]


@pytest.mark.skipif(not NATIVE, reason="the native bundle is not unpacked")
def test_locate_and_read_name_the_chunk_and_its_state() -> None:
    core = next(c for c, case in NATIVE if c.parent.name == "O0.uaf_hold")
    objects = Truth((core.parent / "truth.txt").read_text()).objects()
    freed, holder = objects["g_worker"]["value"], objects["g_worker"]["addr"]
    tid = re.search(r"main-tid=(\d+)", (core.parent / "truth.txt").read_text())
    assert tid
    place = report("locate", core, freed, exe(core))["location"]
    assert place["kind"] == "malloc-chunk" and f"FREED: in tcache of thread {tid[1]}" in place["text"]
    words = report("read", core, holder, 2, exe(core))["words"]
    assert words[1]["value"] == freed and "FREED" in words[1]["points_to"]
    assert "malloc chunk" in words[0]["symbol"] or "malloc chunk" in words[0]["points_to"] or "in use" in str(words[0])
    # A crash never reads the heap: its registers say where they lead, not in which chunk.
    assert "malloc chunk" not in incident("crash", core, exe(core)).out


@pytest.mark.skipif(not ALL, reason="no native or cgo bundle is unpacked")
@pytest.mark.parametrize("core", [c for c, case in ALL if c.parent.name in ("O2.churn", "O0.malloc_threads", "dwarf.cgo_idle", "xxO2.umap_hold")],
                         ids=lambda c: f"{c.parents[1].name}-{c.parent.name}")
def test_account_of_memory_adds_up(core: pathlib.Path) -> None:
    memory = report("maps", core, "--summary", exe(core))["memory"]
    assert sum(u["bytes"] for u in memory["uses"]) == memory["core_bytes"] == core.stat().st_size
    assert all(u["touched"] <= u["bytes"] for u in memory["uses"])
    maps = report("maps", core, exe(core))["maps"]
    assert memory["memory"] == sum(m["in_core"] for m in maps)
    used = {(u["group"], u["what"]): u["bytes"] for u in memory["uses"]}
    assert used["C heap", "blocks in use"] > 0
    if core.parents[1].name.startswith("cgo"):
        assert used["Go heap", "objects"] > 0
    for fmt in ("terminal", "markdown"):
        out = incident("maps", core, "--summary", exe(core), "--format", fmt).out
        assert "C heap" in out and f"{memory['core_bytes']:,}".replace(",", " ") in out.replace(",", " ").replace("\u202f", " ").replace("'", " ")
