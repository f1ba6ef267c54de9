"""Faults in shapes that the corpora's programs do not have, beside healthy twins: found by the right kind, in plain words;
the twins stay silent."""
import pathlib
import shutil
import subprocess
import types

import pytest
from support import GO, build_go, kernel_core, report
from test_heap_planted import Patched

HERE = pathlib.Path(__file__).parent
FAULTS = {
    "unlock-value": ("go.mutex.orphaned", "main.ledger"),
    "unlock-queue": ("go.mutex.orphaned", "main.ledger"),
    "map-count": ("go.map.corrupt", "main.counts, a count that is not the number of its cells"),
    "map-table": ("go.map.corrupt", "main.counts, its table is not in memory"),
    "large-buffer": ("go.pointer.freed", "A uintptr leads to a freed page: main.buffer"),
    "nil-value": ("go.interface.bad", "value of the main.sensor"),
    "off-heap": ("go.pointer.offheap-only", "main.ring.slots[4].order"),
    "off-heap-freed": ("go.pointer.freed", "slots[4].order"),
    "local": ("go.slice.bad", "Impossible slice header: rows"),
    "table": ("go.pointer.freed", "main.table.at[1] and 3 more words"),
    "tagged": ("go.pointer.freed", "main.tagged.at"),
    "captured": ("go.pointer.freed", "field inner of the func main."),
    "bad-pointer": ("go.pointer.bad", "of the main.link at 0x"),
    "arena": ("go.pointer.freed", "field parent of the main.message"),
    "arena-map": ("go.map.freed", "field tags of the main.message"),
    "records": ("go.pointer.freed", "of the main.record at 0x"),
    "views": ("go.string.bad", "Impossible string header: key of the main.field at 0x"),
    "wait-group": ("go.waitgroup.stuck", "A WaitGroup waits for a Done"),
}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if GO is None:
        pytest.skip("go is not installed")
    return build_go(HERE / "strangers.go", tmp_path_factory.mktemp("strangers") / "program")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_and_its_twin(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    for twin in ("bad", "good"):
        (folder := tmp_path / twin).mkdir()
        r = report("analyze", kernel_core(program, f"{fault} {twin}", folder), program)
        loud = [f for f in r["findings"] if f["severity"] != "info"]
        if twin == "good":
            assert loud == []
            continue
        kind, words = FAULTS[fault]
        if fault == "bad-pointer":  # the others, but for those whose pages are in use again
            assert {f["kind"] for f in loud[1:]} == {"go.pointer.freed"}
            del loud[1:]
        assert [f["kind"] for f in loud] == [kind], loud
        assert words in loud[0]["title"]
        if fault == "wait-group":
            assert loud[0]["explanation"].startswith("the wait group lies in ")
            assert any("none leads to a Done of this wait group" in e["what"] for e in loud[0]["evidence"])


def test_a_bad_pointer_whose_frames_say_nothing_any_more(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    kernel = kernel_core(program, "bad-pointer-large bad", tmp_path)
    found = report("analyze", kernel, program)
    bad_pointer = next(f for f in found["findings"] if f["kind"] == "go.pointer.bad")
    word, bad = next((int(e["address"], 16), int(e["value"], 16)) for e in bad_pointer["evidence"] if e["what"].startswith("the word still holds it"))
    base = int(bad_pointer["subject"]["address"], 16)
    (sp,) = {int(f["sp"], 16) for f in found["crash"]["frames"] if f["function"] == "runtime.badPointer"}
    symbols = {line.split()[-1]: int(line.split()[0], 16) for line in subprocess.check_output([GO, "tool", "nm", program], text=True).splitlines() if " B " in line or " D " in line}
    (tmp_path / "patched").mkdir()
    core = Patched(types.SimpleNamespace(core=kernel), tmp_path / "patched")
    for at in range(sp, sp + 1024, 8):
        if core.word(at) == bad:
            core.write(at, bytes(8))
    # The dump of a smaller object leaves this in the ring; it wraps around.
    printed = f"runtime: pointer {bad:#x} to unallocated span span.state=0\nruntime: found in object at *({base:#x}+{word - base:#x})\nobject={base:#x}\n".encode()
    core.write(symbols["runtime.printBacklog"], printed[32:] + bytes(512 - len(printed)) + printed[:32])
    core.write(symbols["runtime.printBacklogIndex"], (len(printed) - 32).to_bytes(8, "little"))
    loud = [f for f in report("analyze", core.path, program)["findings"] if f["severity"] != "info"]
    assert loud[0]["kind"] == "go.pointer.bad"
    assert loud[0]["subject"]["address"] == hex(base)
    assert loud[0]["title"] == bad_pointer["title"]


@pytest.fixture(scope="session")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if GO is None:
        pytest.skip("go is not installed")
    return build_go(HERE / "strangers.go", tmp_path_factory.mktemp("strangers") / "stripped", "-ldflags=-s -w")


@pytest.mark.parametrize(("fault", "kind", "words"), [("nil-value", "go.interface.bad", "value of the main.sensor"),
                                                      ("made-rows", "go.slice.bad", "Impossible slice header: []int32"),
                                                      ("made-object", "go.pointer.freed", "field next of the main.entry"),
                                                      ("boxed-map", "go.map.corrupt", "a count that is not the number of its cells"),
                                                      ("made-linked", "go.pointer.freed", "field owner of the main.device"),
                                                      ("laid-out-interface", "go.interface.bad", "word 0x10 of the main.reader at 0x"),
                                                      ("laid-out-slice", "go.slice.bad", "word 0x20 of the main.reader at 0x"),
                                                      ("laid-out-strings", "go.string.bad", "key of the main.field at 0x"),
                                                      ("laid-out-object", "go.pointer.freed", "field next of the main.entry"),
                                                      ("laid-out-map", "go.map.corrupt", "a count that is not the number of its cells")])
def test_what_code_and_masks_say_of_variables_without_a_name(stripped: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                                             fault: str, kind: str, words: str) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    for twin in ("bad", "good"):
        (folder := tmp_path / twin).mkdir()
        r = report("analyze", kernel_core(stripped, f"{fault} {twin}", folder), stripped)
        loud = [f for f in r["findings"] if f["severity"] != "info"]
        assert [f["kind"] for f in loud] == ([kind] if twin == "bad" else [])
        assert all(words in f["title"] for f in loud)


def test_a_map_in_memory_of_others_whose_key_could_not_be_hashed(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    (folder := tmp_path / "bad").mkdir()
    r = report("analyze", kernel_core(program, "map-reused bad", folder), program)
    assert "aeshashbody" in [f["function"] for f in r["crash"]["frames"]]
    loud = [f for f in r["findings"] if f["severity"] != "info" and not f["kind"].startswith("crash.")]
    assert [f["kind"] for f in loud] == ["go.map.freed"]
    assert "main.tagged.at leads to a map[string]int" in loud[0]["title"]
    (folder := tmp_path / "good").mkdir()
    assert [f for f in report("analyze", kernel_core(program, "map-reused good", folder), program)["findings"] if f["severity"] != "info"] == []


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_a_related_kind_is_named_once(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program"
    subprocess.run(["g++", "-g", "-O0", "-w", HERE / "deleted_twice.cpp", "-o", program], check=True)
    (finding,) = report("analyze", kernel_core(program, "", tmp_path), program)["findings"]
    assert finding["kind"] == "native.pointer.freed"
    assert "crash.fault" in finding["related"]
    assert len(set(finding["related"])) == len(finding["related"]), finding["related"]
