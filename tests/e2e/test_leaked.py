"""go.goroutine.leaked on the heap corpus: exactly the planted goroutines, nobody on the healthy server."""
import re

from planted import Planted, each, of, planted

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
    if core.mode == "leak_select":
        assert "blocked forever in selects of channels that nobody else can reach" in found[0]["title"]
        first = found[0]["evidence"][0]["what"].removeprefix("wait reason of ")  # both its channels
        assert len({e["address"] for e in found[0]["evidence"] if e["what"].startswith(f"{first} waits for it")}) == 2


def test_a_leak_of_a_library_accuses_nobody() -> None:
    """net/http's goroutines can all still be woken by the network: no finding; the heap says what there is too much of."""
    core, = of(planted("web", "web-go1.26"), "dwarf.leak_body")
    core.judge(core.analyze())
    heap = core.report("heap")["heap"]
    count = {row["name"]: row["count"] for row in heap["types"] if row["live"]}
    wanted = re.findall(r"^live type=(\S+) count=(\d+)", (core.folder / "truth.txt").read_text(errors="replace"), re.M)
    assert len(wanted) == 2 and all(count[name] == int(number) for name, number in wanted), wanted
    assert heap["totals"]["typed_live_bytes"] >= 0.99 * heap["totals"]["live_bytes"]


@each([c for c in planted("locks", "standard-go1.*") if c.mode == "gate_used_up"])
def test_a_used_up_semaphore_says_so(core: Planted) -> None:
    finding, = (f for f in core.analyze().json["findings"] if f["kind"] == "go.goroutine.leaked")
    assert "it holds 2 of 2" in [e["what"] for e in finding["evidence"]]
    assert "looks like a semaphore" in finding["remedy"]
