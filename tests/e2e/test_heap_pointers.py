"""Pointers that lie and broken frames, against the heap corpus: every plant found with address and holder, healthy twins silent."""
import importlib.util
import json
import pathlib
import re

import pytest
import support

SPEC = importlib.util.spec_from_file_location("score", support.ROOT / "corpora" / "tools" / "score.py")
score = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(score)

KINDS = ("go.pointer", "go.frame")


def heap_cores() -> list[tuple[str, pathlib.Path, pathlib.Path, dict]]:
    found = []
    cases = {c.parent.name: json.loads(c.read_text()) for c in (support.ROOT / "corpora/heap/cases").glob("*/case.json")}
    for folder in sorted(support.CORPORA.glob("heap-go1.*/*.*")):
        build, mode = folder.name.split(".", 1)
        case = cases.get(re.sub(r"-(gcore|quit)$", "", mode))
        if case and (folder / "core").exists() and (not case["sick"] or case["expect"][0]["kind"].startswith(KINDS)):
            found.append((f"{folder.parent.name}-{folder.name}", folder, folder.parent / f"exe.{build}", case))
    return found


CORES = heap_cores()


@pytest.mark.skipif(not CORES, reason="no heap bundle is unpacked")
@pytest.mark.parametrize(("folder", "exe", "case"), [c[1:] for c in CORES], ids=[c[0] for c in CORES])
def test_case(folder: pathlib.Path, exe: pathlib.Path, case: dict) -> None:
    run = support.incident("analyze", folder / "core", exe, "--only", "go.pointer", "--only", "go.frame-pointer", "--only", "go.frame-chain",
                           "--format", "json")
    found, wanted, wrong, _, _, notes = score.judge(case, score.Truth(folder / "truth.txt"), run.code, run.json)
    assert (found, wrong) == (wanted, 0), notes
    for finding in run.json["findings"]:
        assert finding["verify"] and finding["evidence"] and finding["subject"]["address"], finding["kind"]


@pytest.mark.skipif(not CORES, reason="no heap bundle is unpacked")
@pytest.mark.parametrize(("mode", "words"), [
    ("dangle_return", ["DEAD part", "theHolder.where", "goroutine"]),
    ("dangle_move", ["freed stack of 2048 B", "theHolder.where"]),
    ("freed_slot", ["free slot", "64 B objects", "theHolder.where"]),
    ("freed_pointer", ["free slot", "heapShelf.item"]),
    ("freed_page", ["free page of the Go heap", "theHolder.where"]),
    ("offheap_only", ["field item of the main.shelf", "no root leads to"]),
    ("bad_pointer", ["found bad pointer in Go heap", "blob.data["]),
    ("chain_ret", ["return address of main.smash", "0x4242424242424242", "BBBBBBBB"]),
    ("chain_bp", ["saved frame pointer of main.smash", "0x4141414141414140"]),
])
def test_report_names_holder_and_state(mode: str, words: list[str]) -> None:
    for _, folder, exe, _ in (c for c in CORES if c[1].name == f"dwarf.{mode}"):
        out = support.incident("analyze", folder / "core", exe, "--color", "never").out
        flat = re.sub(r"\s+", " ", out)
        missing = [w for w in words if w not in flat]
        assert not missing, (folder, missing)
        assert "gdb " in out and " of 1 ━━" in out or "1 of 1" in out, folder
