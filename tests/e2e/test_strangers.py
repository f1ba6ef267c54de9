"""Faults in shapes that the corpora's programs do not have, beside healthy twins: found by the right kind, in plain words;
the twins stay silent."""
import pathlib
import shutil
import subprocess

import pytest
from support import GO, build_go, kernel_core, report

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
        if fault == "bad-pointer":  # the other fifteen
            assert {f["kind"] for f in loud[1:]} == {"go.pointer.freed"} and len(loud) == 16
            del loud[1:]
        assert [f["kind"] for f in loud] == [kind], loud
        assert words in loud[0]["title"]
        if fault == "wait-group":
            assert loud[0]["explanation"].startswith("the wait group lies in ")
            assert any("none leads to a Done of this wait group" in e["what"] for e in loud[0]["evidence"])


@pytest.fixture(scope="session")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if GO is None:
        pytest.skip("go is not installed")
    return build_go(HERE / "strangers.go", tmp_path_factory.mktemp("strangers") / "stripped", "-ldflags=-s -w")


@pytest.mark.parametrize(("fault", "kind", "words"), [("nil-value", "go.interface.bad", "value of the main.sensor"),
                                                      ("made-rows", "go.slice.bad", "Impossible slice header: []int32"),
                                                      ("made-object", "go.pointer.freed", "field next of the main.entry"),
                                                      ("boxed-map", "go.map.corrupt", "a count that is not the number of its cells")])
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
