"""go.goroutine.leaked on the heap corpus: exactly the planted goroutines, nobody on the healthy server."""
import re

from planted import Planted, each, planted

MODES = ("leak_recv", "leak_send", "leak_select", "leak_nil", "leak_chain", "leak_none", "server")


@each([c for c in planted("heap", "heap-go1.*") if c.mode in MODES])
def test_leaked(core: Planted) -> None:
    ids = re.findall(r"^goroutine id=(\d+) name=(\S+)", (core.folder / "truth.txt").read_text(errors="replace"), re.M)  # many of one name
    wanted = [sorted(int(i) for i, name in ids if name in e["goroutines"]) for e in core.case["expect"]]
    run = core.analyze("--only", "go.goroutine")
    found = [f for f in run.json["findings"] if f["severity"] != "info"]
    assert [f["goroutines"] for f in found] == wanted
    assert {f["kind"] for f in found} <= {"go.goroutine.leaked"}
    assert run.code == (1 if wanted else 0)
