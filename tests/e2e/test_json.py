"""Every command's JSON obeys the schema file, and says null for what it did not compute."""
import json

import jsonschema
import pytest
from support import ROOT, Case, cases, incident, report

SCHEMA = json.loads((ROOT / "docs" / "incident-report-1.schema.json").read_text())
VALIDATOR = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
SECTIONS = ("crash", "threads", "goroutines", "locks", "wait_graph", "heap", "maps")


def address_of(case: Case) -> str:
    return next(o["addr"] for o in case.truth().objects().values() if o["addr"] != "0x0")


@pytest.mark.parametrize("command,sections", [
    (["analyze"], set(SECTIONS)),
    (["crash"], {"crash"}),
    (["goroutines", "--stacks"], {"goroutines"}),
    (["goroutine", "1"], {"goroutines"}),
    (["threads"], {"threads"}),
    (["maps"], {"maps"}),
    (["locate", "ADDRESS"], set()),
    (["read", "ADDRESS", "8"], set()),
])
@pytest.mark.parametrize("case", cases(mode="waits", build="dwarf"), ids=str)
def test_schema(case: Case, command: list[str], sections: set[str]) -> None:
    name, *rest = [address_of(case) if word == "ADDRESS" else word for word in command]
    r = report(name, case.core, *rest, case.exe)
    VALIDATOR.validate(r)
    computed = {s for s in SECTIONS if r[s] is not None}
    assert computed == sections
    if name == "locate":
        assert r["location"]["kind"]
    if name == "read":
        assert len(r["words"]) == 8


@pytest.mark.parametrize("case", cases(mode="heap"), ids=str)
def test_analyze_holds_what_the_lists_hold(case: Case) -> None:
    whole = report("analyze", case.core, case.exe)
    for section in ("heap", "maps"):
        assert whole[section] == report(section, case.core, case.exe)[section]
    live = whole["heap"]["totals"]["live_objects"]
    assert f"live in {live:,} objects" in incident("analyze", case.core, case.exe).out
    some = report("analyze", case.core, case.exe, "--only", "go.mutex")
    assert some["heap"] is None, "the kinds that were asked for need no heap"


@pytest.mark.parametrize("mode", ["nilderef", "panicnested", "fatalmap", "overflow", "csegv", "chold"])
def test_crash_reports_obey_the_schema(mode: str) -> None:
    for case in cases(mode=mode)[-2:]:
        VALIDATOR.validate(report("analyze", case.core, case.exe))


def test_json_beside_the_human_report(tmp_path) -> None:
    case = cases(mode="nilderef", build="dwarf")[0]
    run = incident("crash", case.core, case.exe, "--json", tmp_path / "r.json")
    assert "WHAT" in run.out
    VALIDATOR.validate(json.loads((tmp_path / "r.json").read_text()))


def test_markdown_and_ascii() -> None:
    case = cases(mode="nilderef", build="dwarf")[0]
    assert incident("crash", case.core, case.exe, "--format", "markdown").out.startswith("# ")
    plain = incident("crash", case.core, case.exe, LC_ALL="C", LANG="C").out
    assert plain.isascii() and "\x1b" not in plain
