"""Maps, slices, strings, interfaces and pools against the heap corpus: planted faults found with their address; on healthy twins not one finding of these kinds."""
import json
import pathlib
import re

import pytest
import support

KINDS = ("go.map.", "go.slice.", "go.string.", "go.interface.", "go.pool.")
TWINS = {"map_kept", "map_iterating", "map_delete_range", "map_one_writer", "map_shapes", "headers_right", "pool_right", "pool_victim", "server", "churn", "mid_gc", "graph"}


def heap_cores() -> list[tuple[str, pathlib.Path, pathlib.Path, dict]]:
    found = []
    cases = {c.parent.name: json.loads(c.read_text()) for c in (support.ROOT / "corpora/heap/cases").glob("*/case.json")}
    for folder in sorted(support.CORPORA.glob("heap-go1.*/*.*")):
        build, mode = folder.name.split(".", 1)
        case = cases.get(re.sub(r"-(gcore|quit)$", "", mode))
        if not case or not (folder / "core").exists():
            continue
        if case["mode"] in TWINS or any(e["kind"].startswith(KINDS) for e in case["expect"]):
            found.append((f"{folder.parent.name}-{folder.name}", folder, folder.parent / f"exe.{build}", case))
    return found


CORES = heap_cores()


@pytest.mark.skipif(not CORES, reason="no heap bundle is unpacked")
@pytest.mark.parametrize(("folder", "exe", "case"), [c[1:] for c in CORES], ids=[c[0] for c in CORES])
def test_case(folder: pathlib.Path, exe: pathlib.Path, case: dict) -> None:
    run = support.incident("analyze", folder / "core", exe, "--format", "json")
    mine = [f for f in run.json["findings"] if f["kind"].startswith(KINDS)]
    alarms = [f for f in mine if f["severity"] in ("error", "warning")]
    truth = support.Truth((folder / "truth.txt").read_text(errors="replace")).objects()
    wanted = [(e["kind"], truth[e["subject"]]["addr"]) for e in case["expect"]]
    if case["mode"] == "map_freed" and not alarms:  # its page was given back to the kernel: nothing says that it was a map
        alarms = [f for f in run.json["findings"] if f["kind"] == "go.pointer.freed" and "page" in f["title"]]
        wanted = [("go.pointer.freed", at) for _, at in wanted]
    assert [(f["kind"], f["subject"]["address"]) for f in alarms] == wanted
    for finding in mine:
        assert finding["evidence"] and finding["verify"] and finding["title"] and finding["why"]
    if case["sick"]:
        assert run.code == 1


def pick(mode: str) -> tuple[pathlib.Path, pathlib.Path]:
    for name, folder, exe, _ in CORES:
        if name.endswith(f"-dwarf.{mode}"):
            return folder, exe
    pytest.skip(f"no core of {mode}")


def finding(mode: str) -> dict:
    folder, exe = pick(mode)
    report = support.report("analyze", folder / "core", exe)
    return next(f for f in report["findings"] if f["kind"].startswith(KINDS))


def test_a_race_names_both_sides_and_their_map() -> None:
    race = finding("race_range")
    assert race["strength"] == "proved" and race["subject"]["symbol"] == "main.intTable"
    assert len(race["goroutines"]) >= 2 and len(race["snapshots"]) >= 2
    text = " ".join(e["what"] for e in race["evidence"])
    assert "main.rangeLoop" in text and "main.writeLoop" in text


def test_a_stuck_flag_is_called_so() -> None:
    assert "stuck" in finding("map_flag_stuck")["why"]


def test_a_corrupt_map_says_what_contradicts() -> None:
    bad = finding("map_bad_count")
    assert bad["subject"]["type"] == "map[string]*main.entry" and bad["subject"]["symbol"] == "main.table"
    assert "9500" in bad["why"] and "500" in bad["why"]


def test_a_bad_header_names_variable_and_field() -> None:
    assert finding("slice_len")["subject"]["symbol"] == "main.theFrame.body"
    assert finding("iface_itab")["subject"]["symbol"] == "main.theFrame.text"


def test_a_pool_names_both_slots() -> None:
    pool = finding("pool_double")
    assert pool["subject"]["symbol"] == "main.buffers"
    assert sum("of P" in e["what"] for e in pool["evidence"]) == 2


def test_a_freed_map_names_its_holder_and_who_uses_it() -> None:
    kept = finding("map_freed")
    assert kept["subject"]["symbol"] == "main.theHolder" and "map" in kept["title"]
    used = finding("map_freed_crash")
    assert used["severity"] == "error" and used["goroutines"] and used["snapshots"]
    assert "main.walk" in " ".join(e["what"] for e in used["evidence"])
