"""Maps, slices, strings, interfaces and pools against the heap corpus: planted faults found with their address; on healthy twins not one finding of these kinds."""
from planted import Planted, each, of, planted

KINDS = ("go.map.", "go.slice.", "go.string.", "go.interface.", "go.pool.")
TWINS = {"map_kept", "map_range_left", "map_iterating", "map_delete_range", "map_one_writer", "map_shapes", "headers_right", "pool_right", "pool_victim", "server", "churn", "mid_gc", "graph"}
PACKS = ("heap-go1.*", "left-go1.*", "classic-go1.*", "bitmaps-go1.*")
CORES = [c for pack in PACKS for c in planted("heap", pack) if c.mode in TWINS or any(e["kind"].startswith(KINDS) for e in c.case["expect"])]


@each(CORES)
def test_case(core: Planted) -> None:
    case, run = core.case, core.analyze()
    mine = [f for f in run.json["findings"] if f["kind"].startswith(KINDS)]
    alarms = [f for f in mine if f["severity"] in ("error", "warning")]
    truth = core.objects()
    wanted = [(e["kind"], truth[e["subject"]]["addr"]) for e in case["expect"]]
    if case["mode"] == "map_freed" and not alarms:  # its page was given back to the kernel: nothing says that it was a map
        alarms = [f for f in run.json["findings"] if f["kind"] == "go.pointer.freed" and "page" in f["title"]]
        wanted = [("go.pointer.freed", at) for _, at in wanted]
    assert [(f["kind"], f["subject"]["address"]) for f in alarms] == wanted
    for finding in mine:
        assert finding["evidence"] and finding["verify"] and finding["title"] and finding["why"]
    if case["sick"]:
        assert run.code == 1


def finding(mode: str) -> dict:
    core = of(CORES, f"dwarf.{mode}")[0]
    report = core.analyze().json
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
