"""go.goroutine.leaked on the heap corpus: exactly the planted goroutines, nobody on the healthy server."""
import json
import pathlib
import re

import pytest
import support

MODES = ("leak_recv", "leak_send", "leak_select", "leak_nil", "leak_chain", "leak_none", "server")
CORES = [f for f in sorted(support.CORPORA.glob("heap-go1.*/*.*")) if f.name.split(".", 1)[1] in MODES and (f / "core").exists()]


@pytest.mark.skipif(not CORES, reason="no heap bundle is unpacked")
@pytest.mark.parametrize("folder", CORES, ids=[f"{f.parent.name}-{f.name}" for f in CORES])
def test_leaked(folder: pathlib.Path) -> None:
    build, mode = folder.name.split(".", 1)
    case = json.loads((support.ROOT / "corpora/heap/cases" / mode / "case.json").read_text())
    ids = dict(re.findall(r"^goroutine id=(\d+) name=(\S+)", (folder / "truth.txt").read_text(errors="replace"), re.M))
    wanted = [sorted(int(i) for i, name in ids.items() if name in e["goroutines"]) for e in case["expect"]]
    run = support.incident("analyze", folder / "core", folder.parent / f"exe.{build}", "--only", "go.goroutine", "--format", "json")
    found = [f for f in run.json["findings"] if f["severity"] != "info"]
    assert [f["goroutines"] for f in found] == wanted
    assert {f["kind"] for f in found} <= {"go.goroutine.leaked"}
    assert run.code == (1 if wanted else 0)
