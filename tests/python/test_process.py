"""incident.open: questions of one's own to one core, against what the program said of itself."""
from __future__ import annotations

import re
import threading
import time

import pytest
import support

import incident


@pytest.mark.cores(mode="waits")
def test_goroutines_are_the_programs_own(case):
    process = incident.open(case.core, case.exe)
    ids = {int(i) for i in re.findall(r"^goroutine (\d+) \[", case.truth().stacks, re.M)}
    assert process.goroutines is not None
    assert ids <= {g.id for g in process.goroutines}
    waiting = [g for g in process.goroutines if g.wait_reason == "chan receive" and not g.system]
    assert waiting and all(g.frames for g in waiting)
    assert any(g.blocked_on and g.blocked_on.address for g in waiting)


def test_one_goroutine_is_annotated(one):
    process = incident.open(one.core, one.exe)
    some = next(g for g in process.goroutines if not g.system and g.status == "waiting")
    goroutine = process.goroutine(some.id)
    assert goroutine.id == some.id and len(goroutine.snapshots) > 0
    assert [f.function for f in goroutine.frames] == [f.function for f in some.frames]
    assert any(slot.value for snapshot in goroutine.snapshots for slot in snapshot.slots)
    with pytest.raises(KeyError):
        process.goroutine(10**9)


def test_threads_and_registers(one):
    process = incident.open(one.core, one.exe)
    thread = process.threads[0]
    assert thread.registers["rip"] == thread.frames[0].pc
    assert process.thread(thread.tid).tid == thread.tid
    assert process.locate(thread.registers["rip"]).kind == "image"
    with pytest.raises(KeyError):
        process.thread(1)


def test_locks_and_who_waits(one):
    orphan = support.cases(mode="orphan", build="dwarf")[-1]
    process = incident.open(orphan.core, orphan.exe)
    contended = [lock for lock in process.locks if len(lock.waiters) == 3]
    assert len(contended) == 1 and contended[0].type == "sync.Mutex"
    assert contended[0].state.locked is True
    assert len(contended[0].holders) == 0
    assert process.wait_graph is not None and process.wait_graph.cycles == []
    kinds = [f.kind for f in process.report(only=["go.mutex"]).findings]
    assert kinds == ["go.mutex.orphaned"]


def test_memory_words_and_places_agree(one):
    process = incident.open(one.core, one.exe)
    sp = process.threads[0].registers["rsp"]
    words = process.read(sp, 8)
    raw = process.memory(sp, 64)
    assert [w.value for w in words] == [int.from_bytes(raw[i : i + 8], "little") for i in range(0, 64, 8)]
    assert [w.address for w in words] == list(range(sp, sp + 64, 8))
    assert process.locate(0).kind in ("nil", "unmapped")
    missing = process.read(0, 2)
    assert [w.value for w in missing] == [None, None]
    with pytest.raises(incident.Error):
        process.memory(0, 1)
    with pytest.raises(incident.Error):
        process.memory(sp, 1 << 62)
    total = sum(m.in_core for m in process.maps)
    assert 0 < total <= one.core.stat().st_size
    assert process.memory(sp, 0) == b""


def test_a_core_without_go():
    folder = support.CORPORA / "native-glibc-2.36" / "O0.pt_ordered"
    process = incident.open(folder / "core", folder.parent / "exe.O0")
    assert process.goroutines is None and process.runtime.go is None
    assert len(process.threads) >= 1 and process.threads[0].frames


def test_sequences_are_sequences(one):
    goroutines = incident.open(one.core, one.exe).goroutines
    assert goroutines[-1].id == goroutines[len(goroutines) - 1].id
    assert [g.id for g in goroutines[:3]] == [goroutines[i].id for i in range(3)]
    assert [g.id for g in goroutines[::-1]][:2] == [goroutines[-1].id, goroutines[-2].id]
    assert [g.id for g in reversed(goroutines)][0] == goroutines[-1].id
    assert goroutines[2] in goroutines and goroutines.index(goroutines[2]) == 2
    with pytest.raises(IndexError):
        goroutines[len(goroutines)]
    assert isinstance(goroutines, incident.Sequence)


def test_the_engine_works_without_the_gil(one):
    """While the engine works, another Python thread runs."""
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.is_set():
            ticks += 1
            time.sleep(0.0001)

    other = threading.Thread(target=tick)
    other.start()
    try:
        before = ticks
        for _ in range(3):
            incident.analyze(one.core, one.exe)
        assert ticks > before + 3
    finally:
        stop.set()
        other.join()


def test_one_process_for_many_threads(one):
    process = incident.open(one.core, one.exe)
    expected = [process.locate(t.registers["rsp"]).text for t in process.threads]
    results: list[list[str]] = []

    def ask() -> None:
        results.append([process.locate(t.registers["rsp"]).text for t in process.threads])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_reprs_name_the_thing(crashed):
    process = incident.open(crashed.core, crashed.exe)
    assert "pid" in repr(process) and "<pre" in process._repr_html_()
    for thing in (process.goroutines, process.goroutines[0], process.goroutines[0].frames[0], process.crash, process.maps[0],
                  process.threads[0], process.report(), process.report().findings[0], process.input.modules[0]):
        assert repr(thing).startswith("<incident.") and " object at " not in repr(thing)


def heap_case():
    folder = sorted(support.CORPORA.glob("heap-go*"))[-1]
    return folder / "dwarf.graph" / "core", folder / "exe.dwarf"


def test_heap_objects_are_columns_and_objects():
    process = incident.open(*heap_case())
    objects = process.objects
    assert objects is not None and len(objects) == len(objects.addresses) == len(objects.live) > 300
    addresses, sizes, live = memoryview(objects.addresses), memoryview(objects.sizes), memoryview(objects.live)
    assert addresses.format in ("L", "Q") and addresses.readonly and addresses.tolist() == sorted(addresses.tolist())
    assert objects[-1].address == addresses[len(objects) - 1]
    by_type: dict[str, int] = {}
    for index, kind in enumerate(memoryview(objects.types)):
        if live[index]:
            by_type[objects.type_names[kind]] = by_type.get(objects.type_names[kind], 0) + sizes[index]
    histogram: dict[str, int] = {}  # closures of one function may have several rows
    for row in process.heap.types:
        histogram[row.name] = histogram.get(row.name, 0) + row.live
    assert by_type == {name: bytes_ for name, bytes_ in histogram.items() if bytes_}
    assert sum(by_type.values()) == process.heap.totals["live_bytes"]
    node = next(o for o in objects if o.type == "main.listNode")
    assert node.live and node.size > 0 and "main.listNode" in repr(node)
    with pytest.raises(IndexError):
        objects[len(objects)]


def test_heap_columns_outlive_the_process():
    column = memoryview(incident.open(*heap_case()).objects.sizes)
    assert sum(column) > 0


def test_who_keeps_an_object():
    core, exe = heap_case()
    process = incident.open(core, exe)
    truth = (core.parent / "truth.txt").read_text()
    name, text = re.search(r"^path name=(\S+) text=(.*)$", truth, re.M).groups()
    address = int(re.search(rf"^gnode name={re.escape(name)} addr=(0x[0-9a-f]+)", truth, re.M)[1], 16)
    path = process.path_to(address)
    assert path is not None and text.strip('"') in path.text + "\n".join(path.details.values())
    assert process.object_at(address).address == address
    assert max(r.bytes for r in process.retained.retainers or []) > 0
    assert incident.open(support.CORPORA / "native-glibc-2.36" / "O0.pt_ordered" / "core").objects is None
