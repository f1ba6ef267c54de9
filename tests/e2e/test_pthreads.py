"""pthread locks of C programs and of C under Go: planted faults found with address, owner and waiters, cycles with their edges; healthy twins silent."""
import re

import pytest
import support
from planted import Planted, each, planted, score

KINDS = ["native.mutex", "native.rwlock", "lock.cycle"]
MODES = re.compile(r"(pt|rw)_|c_(orphan|self|slow_owner)|cycle_mixed|chain_mixed|holder_in_c")
CORES = [c for c in planted("native", "native-glibc-*") + planted("cgo", "cgo-go1.*") if MODES.match(c.mode)]
pytestmark = pytest.mark.skipif(not CORES, reason="neither native nor cgo bundle is unpacked")


def one(name: str) -> tuple[object, object, score.Truth]:
    core = next(c for c in CORES if str(c) == name)
    return core.core, core.exe, core.truth()


@each(CORES)
def test_case(core: Planted) -> None:
    assert not core.judge(core.analyze(*(word for kind in KINDS for word in ("--only", kind))))


def test_mixed_cycle_is_one() -> None:
    for version in ("1.16", "1.22", "1.27"):
        core, exe, truth = one(f"cgo-go{version}-stripped.cycle_mixed")
        report = support.report("analyze", core, exe)
        assert len(report["wait_graph"]["cycles"]) == 1
        edges = [report["wait_graph"]["edges"][e] for e in report["wait_graph"]["cycles"][0]]
        assert {e["what"].split()[0] for e in edges} == {"sync.Mutex", "pthread_mutex_t"}
        finding = next(f for f in report["findings"] if f["kind"] == "lock.cycle")
        assert finding["strength"] == "likely" and sorted(finding["goroutines"]) == sorted(truth.ids[n] for n in ("gofirst", "cfirst"))


def test_orphan_says_who_is_missing() -> None:
    core, exe, truth = one("native-glibc-2.36-stripped.pt_orphan")
    finding = next(f for f in support.report("analyze", core, exe)["findings"] if f["kind"] == "native.mutex.orphaned")
    owner = next(e for e in finding["evidence"] if "__owner" in e["what"])
    assert int(owner["address"], 16) == truth.objects["g_cache.mu"] + 8 and "none of the 4 threads" in owner["what"]
    assert any("pthread_mutex_t" in v["command"] for v in finding["verify"])
    assert finding["snapshots"] and finding["innocent"]


def test_threads_say_what_they_wait_for() -> None:
    core, exe, truth = one("native-glibc-2.36-O2.pt_owner_asleep")
    threads = {t["tid"]: t["note"] for t in support.report("threads", core, exe)["threads"]}
    for name in ("waiter1", "waiter2", "waiter3"):
        assert re.fullmatch(rf"waits for pthread_mutex_t g_cache\+0x8 {truth.objects['g_cache.mu']:#x}, owned by thread {truth.ids['owner']}", threads[truth.ids[name]])
    core, exe, truth = one("native-glibc-2.36-static.pt_cond")
    threads = {t["tid"]: t["note"] for t in support.report("threads", core, exe)["threads"]}
    assert "pthread_cond_t" in threads[truth.ids["waiter1"]] and threads[truth.ids["signaller"]] is None


def test_goroutine_in_c_says_what_it_waits_for() -> None:
    core, exe, truth = one("cgo-go1.22-dwarf.c_slow_owner")
    row = support.report("goroutine", core, str(truth.ids["waiter1"]), exe)["goroutines"][0]
    assert int(row["blocked_on"]["address"], 16) == truth.objects["g_store.mu"]
    assert row["blocked_on"]["what"].startswith("pthread_mutex_t") and "owned by thread" in row["blocked_on"]["what"]


def test_locks_of_a_c_program() -> None:
    core, exe, truth = one("native-glibc-2.36-O2.rw_orphan")
    run = support.incident("locks", core, exe)
    assert "pthread_rwlock_t" in run.out and "which no thread has" in run.out
    lock = support.report("locks", core, exe)["locks"][0]
    assert int(lock["address"], 16) == truth.objects["g_book.rw"] and lock["holders"] == []
    assert [(w["thread"], w["mode"]) for w in lock["waiters"]] == [(truth.ids["reader1"], "rlock"), (truth.ids["writer1"], "lock")]
