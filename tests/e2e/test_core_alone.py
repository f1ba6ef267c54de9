"""A core without its executable still tells the signal, mappings, Go version and the goroutines with raw pcs."""
import pathlib
import shutil
import subprocess

import pytest
from support import Case, incident, report


@pytest.mark.cores(mode="waits", build="dwarf")
def test_core_alone(case: Case, tmp_path) -> None:
    core = tmp_path / "core"
    core.symlink_to(case.core)
    # Its goroutines that wait for nil channels are findings with or without the executable.
    assert incident("analyze", core, "--skip", "go.goroutine").code == 3
    run = incident("analyze", core, "--format", "json")
    assert run.code == 1, run.err
    r = run.json
    assert r["runtime"]["go"]["version"].startswith(f"go{case.version}")
    assert r["input"]["executable"]["status"] == "missing"
    assert r["runtime"]["go"]["debug_info"] is None, "nobody can say of a file that is not there that it is stripped"
    assert r["crash"]["signal"]["name"] == "SIGABRT"
    truth = set(case.truth().goroutines())
    ours = {g["id"]: g for g in r["goroutines"]}
    assert truth <= set(ours) | {g for g in truth if g not in ours and "dead" in str(case)}
    assert all(g["status"] for g in ours.values())
    waiting = [g for g in ours.values() if g["status"] == "waiting"]
    assert waiting and all(g["frames"] and int(g["frames"][0]["pc"], 16) for g in waiting)
    exe = f"/srv/probe/go{case.version}/exe.dwarf"
    assert any(exe in gap["what"] + gap["why"] for gap in r["gaps"])
    assert any(m["path"] == exe for m in r["input"]["modules"]) or r["input"]["executable"]["path"] == exe


@pytest.mark.cores(mode="panicnested", build="dwarf")
def test_silence_about_a_panic_is_no_health(case: Case, tmp_path) -> None:
    core = tmp_path / "core"
    core.symlink_to(case.core)
    finding = report("crash", core)["findings"][0]
    assert finding["kind"] == "crash.requested" and "not known without its executable" in finding["why"]
    head = " ".join(incident("analyze", core, "--skip", "go.goroutine").out.split("\n\n")[1].split())
    assert "no defect was found, but its executable was not there" in head and "WHY whether it died of a panic" in head


@pytest.mark.cores(mode="nilderef", build="dwarf")
def test_wrong_executable_is_refused(case: Case, tmp_path) -> None:
    other, core = tmp_path / "other", tmp_path / "core"
    shutil.copy(case.exe.with_name("exe.stripped"), other)
    subprocess.run(["cp", "--sparse=always", case.core, core], check=True)  # away from the right one
    r = report("crash", core, other)
    # Where the core says it was, the right one may even exist here; the wrong one is never used, and always named.
    right_one_is_here = pathlib.Path(f"/srv/probe/go{case.version}/exe.dwarf").exists()
    assert r["input"]["executable"]["status"] == ("verified" if right_one_is_here else "mismatched")
    assert any(str(other) in gap["what"] + gap["why"] for gap in r["gaps"])
    forced = report("crash", core, other, "--allow-mismatch")
    if not right_one_is_here:
        assert forced["input"]["executable"]["status"] == "unverified"


@pytest.mark.cores(mode="heap", build="dwarf")
def test_what_missing_roots_keep_is_no_garbage(case: Case, tmp_path) -> None:
    """Without the executable no package variable is known: what is not reached may well be alive."""
    core = tmp_path / "core"
    core.symlink_to(case.core)
    totals = report("heap", core)["heap"]["totals"]
    assert totals["unreached_bytes"] > totals["live_bytes"] and "garbage_bytes" not in totals
    out = incident("heap", core).out
    assert "not reached, as roots are missing" in out and "garbage" not in out
    whole = report("heap", case.core, case.exe)["heap"]["totals"]
    assert "garbage_bytes" in whole and "unreached_bytes" not in whole
