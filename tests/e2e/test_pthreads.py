"""pthread locks of C programs and of C under Go: planted faults found with address, owner and waiters, cycles with their edges; healthy twins silent."""
import importlib.util
import json
import pathlib
import re

import pytest
import support

SPEC = importlib.util.spec_from_file_location("score", support.ROOT / "corpora" / "tools" / "score.py")
score = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(score)
KINDS = ["native.mutex", "native.rwlock", "lock.cycle"]
MODES = re.compile(r"(pt|rw)_|c_(orphan|self|slow_owner)|cycle_mixed|chain_mixed|holder_in_c")


def cores() -> list[tuple[str, pathlib.Path, pathlib.Path, dict]]:
    found = []
    for program, bundles in (("native", "native-glibc-*"), ("cgo", "cgo-go1.*")):
        cases = {c.parent.name: json.loads(c.read_text()) for c in (support.ROOT / "corpora" / program / "cases").glob("*/case.json")}
        for folder in sorted(support.CORPORA.glob(f"{bundles}/*.*")):
            build, mode = folder.name.split(".", 1)
            case = cases.get(re.sub(r"-(gcore|quit)$", "", mode))
            if case and MODES.match(mode) and (folder / "core").exists():
                found.append((f"{folder.parent.name}-{folder.name}", folder, folder.parent / f"exe.{build}", case))
    return found


CORES = cores()
pytestmark = pytest.mark.skipif(not CORES, reason="neither native nor cgo bundle is unpacked")


def one(name: str) -> tuple[pathlib.Path, pathlib.Path, score.Truth]:
    _, folder, exe, _ = next(c for c in CORES if c[0] == name)
    return folder / "core", exe, score.Truth(folder / "truth.txt")


@pytest.mark.parametrize(("folder", "exe", "case"), [c[1:] for c in CORES], ids=[c[0] for c in CORES])
def test_case(folder: pathlib.Path, exe: pathlib.Path, case: dict) -> None:
    run = support.incident("analyze", folder / "core", exe, "--format", "json", *(word for kind in KINDS for word in ("--only", kind)))
    found, wanted, wrong, holders, holders_wanted, notes = score.judge(case, score.Truth(folder / "truth.txt"), run.code, run.json)
    assert (found, wrong, holders) == (wanted, 0, holders_wanted), notes
    assert not notes
    assert run.code == (1 if case["sick"] else 0)


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
