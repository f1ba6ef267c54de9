"""Locks against the locks corpus: planted faults found with their address, waiters and edges; healthy twins silent, their holders known."""
import importlib.util
import json
import pathlib
import re

import pytest
import support

SPEC = importlib.util.spec_from_file_location("score", support.ROOT / "corpora" / "tools" / "score.py")
score = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(score)


def lock_cores() -> list[tuple[str, pathlib.Path, pathlib.Path, dict]]:
    found = []
    cases = {c.parent.name: json.loads(c.read_text()) for c in (support.ROOT / "corpora/locks/cases").glob("*/case.json")}
    for folder in sorted(support.CORPORA.glob("locks-go1.*/*.*")):
        build, mode = folder.name.split(".", 1)
        case = cases.get(re.sub(r"-(gcore|quit)$", "", mode))
        if case and (folder / "core").exists():
            found.append((f"{folder.parent.name}-{folder.name}", folder, folder.parent / f"exe.{build}", case))
    return found


CORES = lock_cores()


@pytest.mark.skipif(not CORES, reason="no locks bundle is unpacked")
@pytest.mark.parametrize(("folder", "exe", "case"), [c[1:] for c in CORES], ids=[c[0] for c in CORES])
def test_case(folder: pathlib.Path, exe: pathlib.Path, case: dict) -> None:
    run = support.incident("analyze", folder / "core", exe, "--format", "json")
    found, wanted, wrong, holders, holders_wanted, notes = score.judge(case, score.Truth(folder / "truth.txt"), run.code, run.json)
    assert (found, wrong, holders) == (wanted, 0, holders_wanted), notes
    assert run.code == (1 if case["sick"] else 0) or case["how"] == ["throw"], run.code


@pytest.mark.skipif(not CORES, reason="no locks bundle is unpacked")
def test_locks_command_prints_table_and_graph() -> None:
    name, folder, exe, _ = next(c for c in CORES if c[1].name == "dwarf.cycle2")
    out = support.incident("locks", folder / "core", exe).out
    assert "cycle of 2" in out and "pending defer" in out, name
    report = support.report("locks", folder / "core", exe)
    assert len(report["wait_graph"]["cycles"]) == 1
    assert all(lock["holders"] and lock["waiters"] for lock in report["locks"])


@pytest.mark.skipif(not CORES, reason="no locks bundle is unpacked")
def test_locks_are_named_as_go_code_names_them() -> None:
    """By the type of the variable that leads there; the report and the list use one name."""
    for name, folder, exe, _ in (c for c in CORES if c[1].name == "dwarf.orphan_panic"):
        finding = next(f for f in support.report("analyze", folder / "core", exe)["findings"] if f["kind"] == "go.mutex.orphaned")
        assert finding["subject"]["symbol"] == "main.theLedger.mu", name
        lock, = support.report("locks", folder / "core", exe)["locks"]
        assert lock["where"] == "main.theLedger.mu", name
