"""Headers in variables of frames, map iterators in heap objects, and what only looks like a pointer to something freed: every plant found, every twin silent."""
import importlib.util
import json
import pathlib
import re

import pytest
import support

SPEC = importlib.util.spec_from_file_location("score", support.ROOT / "corpora" / "tools" / "score.py")
score = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(score)

CORES = [f for f in sorted(support.CORPORA.glob("places-go1.*/*.*")) if (f / "core").exists()]
pytestmark = pytest.mark.skipif(not CORES, reason="no places bundle is unpacked")


def exe_of(folder: pathlib.Path) -> pathlib.Path:
    return folder.parent / f"exe.{folder.name.split('.')[0]}"


def frame_of(folder: pathlib.Path, function: str) -> str:
    """What is printed of the frame of the goroutine that waits in this function."""
    goid = re.search(rf"^goroutine id=(\d+) .* in={re.escape(function)} ", (folder / "truth.txt").read_text(errors="replace"), re.M)
    assert goid
    out = support.incident("goroutine", folder / "core", goid[1], exe_of(folder), "--color", "never").out
    return re.sub(r"\s*│?\s+", " ", out[out.index(f" {function} "):])


@pytest.mark.parametrize("folder", CORES, ids=[f"{f.parent.name}-{f.name}" for f in CORES])
def test_case(folder: pathlib.Path) -> None:
    case = json.loads((support.ROOT / "corpora/heap/cases" / folder.name.split(".", 1)[1] / "case.json").read_text())
    run = support.incident("analyze", folder / "core", exe_of(folder), "--format", "json")
    found, wanted, wrong, _, _, notes = score.judge(case, score.Truth(folder / "truth.txt"), run.code, run.json)
    assert (found, wrong) == (wanted, 0), notes
    assert run.code == (1 if case["sick"] else 0)


@pytest.mark.parametrize("mode", ["stack_slice", "stack_string", "stack_iface"])
def test_a_header_in_a_frame_is_named_by_its_variable(mode: str) -> None:
    for folder in (f for f in CORES if f.name == f"noopt.{mode}"):
        (finding,) = (f for f in support.report("analyze", folder / "core", exe_of(folder))["findings"] if not f["kind"].startswith("crash."))
        name, function = {"stack_slice": ("body", "main.parkWithSlice"), "stack_string": ("title", "main.parkWithString"), "stack_iface": ("any", "main.parkWithIface")}[mode]
        assert finding["subject"]["symbol"] == name and f"variable {name} of {function}" in finding["where"]
        assert finding["goroutines"] and finding["snapshots"]


def test_the_twins_hold_what_they_are_about() -> None:
    """Silence counts only beside something to be silent about."""
    for folder in (f for f in CORES if f.name == "noopt.stack_headers"):
        assert "(impossible)" in frame_of(folder, "main.parkWithRight"), folder
    for folder in (f for f in CORES if f.name == "noopt.left_over"):
        assert "FREE" in frame_of(folder, "main.parkOnLeftOvers"), folder
    for folder in (f for f in CORES if f.name.endswith(".one_past")):
        (end,) = re.findall(r"name=theWindow .*value=(0x[0-9a-f]+)", (folder / "truth.txt").read_text(errors="replace"))
        assert "FREE" in support.incident("locate", folder / "core", end, exe_of(folder)).out, folder


def test_a_map_that_only_an_iterator_holds_says_so() -> None:
    for folder in (f for f in CORES if f.name.endswith(".iterator_bad")):
        (finding,) = (f for f in support.report("analyze", folder / "core", exe_of(folder))["findings"] if f["kind"] == "go.map.corrupt")
        assert any("iterator over it" in e["what"] for e in finding["evidence"]), folder
