"""malloc, pointers into freed memory, gone frames and the border with Go, on the bundled native and cgo corpora: what
case.json says must be found, and nothing on the healthy twins."""
from __future__ import annotations

import re

import pytest
from planted import Planted, each, of, planted

KINDS = ("native.heap.", "native.pointer.", "native.hash.", "native.frame", "cgo.pointer.")
OTHERS = ("native.mutex", "native.rwlock", "lock.cycle")
ALL = [c for c in planted("native", "native-*") + planted("cgo", "cgo-*") if not any(e["kind"].startswith(OTHERS) for e in c.case["expect"])]


@each(ALL)
def test_case(core: Planted) -> None:
    r, case = core.analyze().json, core.case
    alarms = [f for f in r["findings"] if f["severity"] in ("warning", "error") and f["kind"].startswith(KINDS)]
    objects = core.objects()
    for want in case["expect"]:
        at = int(objects[want["subject"]]["addr"], 16)
        mine = [f for f in alarms if f["kind"] == want["kind"] and f["subject"]["address"] and at <= int(f["subject"]["address"], 16) < at + 64]
        assert mine, (want, [(f["kind"], f["subject"], f["title"]) for f in alarms])
        if "message" in want:
            assert any(want["message"] in e["value"] for e in mine[0]["evidence"])
        assert mine[0]["evidence"] and mine[0]["verify"]
        alarms.remove(mine[0])
    assert alarms == []


def test_locate_and_read_name_the_chunk_and_its_state() -> None:
    core = of(ALL, "O0.uaf_hold")[0]
    objects = core.objects()
    freed, holder = objects["g_worker"]["value"], objects["g_worker"]["addr"]
    tid = re.search(r"main-tid=(\d+)", (core.folder / "truth.txt").read_text())
    assert tid
    place = core.report("locate", freed)["location"]
    assert place["kind"] == "malloc-chunk" and f"FREED: in tcache of thread {tid[1]}" in place["text"]
    words = core.report("read", holder, 2)["words"]
    assert words[1]["value"] == freed and "FREED" in words[1]["points_to"]
    assert "malloc chunk" in words[0]["symbol"] or "malloc chunk" in words[0]["points_to"] or "in use" in str(words[0])
    # A crash never reads the heap: its registers say where they lead, not in which chunk.
    assert "malloc chunk" not in core.print("crash")


@each([c for c in ALL if c.folder.name in ("O2.churn", "O0.malloc_threads", "dwarf.cgo_idle", "xxO2.umap_hold")])
def test_account_of_memory_adds_up(core: Planted) -> None:
    memory = core.report("maps", "--summary")["memory"]
    assert sum(u["bytes"] for u in memory["uses"]) == memory["core_bytes"] == core.core.stat().st_size
    assert all(u["touched"] <= u["bytes"] for u in memory["uses"])
    maps = core.report("maps")["maps"]
    assert memory["memory"] == sum(m["in_core"] for m in maps)
    used = {(u["group"], u["what"]): u["bytes"] for u in memory["uses"]}
    assert used["C heap", "blocks in use"] > 0
    if str(core).startswith("cgo"):
        assert used["Go heap", "objects"] > 0
    for fmt in ("terminal", "markdown"):
        out = core.print("maps", "--summary", "--format", fmt)
        assert "C heap" in out and f"{memory['core_bytes']:,}".replace(",", " ") in out.replace(",", " ").replace("\u202f", " ").replace("'", " ")


@pytest.mark.parametrize(("mode", "kind"), [("uaf_hold", "native.pointer.freed"), ("frame_below", "native.frame-pointer.dangling")])
def test_a_word_without_a_type_is_only_possible(mode: str, kind: str) -> None:
    for build, strength in (("O2", "likely"), ("stripped", "possible")):
        (finding,) = (f for f in of(ALL, f"{build}.{mode}")[0].analyze().json["findings"] if f["kind"] == kind)
        assert (finding["strength"], finding["severity"]) == (strength, "warning"), build
