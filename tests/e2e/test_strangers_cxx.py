"""C and C++ faults in shapes that the corpora's programs do not have: found once, by the right kind, named by their types; their
healthy twins, and healthy programs that look like them, stay silent."""
import pathlib
import re
import shutil
import subprocess

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")

FAULTS = {
    "list-link": ("native.pointer.freed", "g_head->next->…->next leads to a freed node"),
    "ring-link": ("native.pointer.freed", "leads to a freed node"),
    "vector-element": ("native.pointer.freed", "an element in use leads to a freed chunk: g_view->all._M_impl._M_start[9]"),
    "counted-element": ("native.pointer.freed", "an element in use leads to a freed chunk: g_slots->items[9]"),
    "registry": ("native.pointer.freed", "an element in use leads to a freed chunk: g_registry[9]"),
    "raw-copy": ("native.pointer.freed", "raw_copy::o->raw leads to a freed chunk"),
    "moved-buffer": ("native.pointer.freed", "moved_buffer::b.position leads to a freed chunk"),
    "table-value": ("native.hash.freed-bucket", "g_cache->last points to an erased element of a hash table"),
    "set-member": ("native.hash.freed-bucket", "set_member::kept->member points to an erased element of a hash table"),
    "full-table": ("native.hash.freed-bucket", "the chain of bucket 14 leads to a freed node"),
    "array-cookie": ("native.heap.bad-free", "free() was given the middle of a chunk"),
    "unsorted-links": ("native.heap.corrupt", "was overwritten"),
    "freed-given-freed": ("native.heap.double-free", "the same chunk was freed twice"),
}
HEALTHY = {
    "vector-taken-apart": "the thread has an iterator at the array on its stack",
    "vector-freed-from-front": "somebody may be at freeing all elements",
    "vector-spare-room": "behind the vector's end",
    "queue-popped": "one neighbour's link of two, which nobody follows",
    "out-of-pool": "links from the time in a pool: many",
    "list-taken-apart": "the node is on the thread's stack",
    "lets-lie": "more pointers to freed chunks than one fault leaves",
}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("strangers_cxx") / "program"
    subprocess.run(["g++", "-std=c++17", "-g", "-O0", "-w", HERE / "strangers.cpp", "-o", out], check=True)
    return out


def alarms(program: pathlib.Path, how: str, folder: pathlib.Path) -> list:
    folder.mkdir()
    findings = report("analyze", kernel_core(program, how, folder), program)["findings"]
    return [f for f in findings if f["severity"] != "info" and not f["kind"].startswith("crash.")]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_and_its_twin(program: pathlib.Path, tmp_path: pathlib.Path, fault: str) -> None:
    kind, words = FAULTS[fault]
    (finding,) = alarms(program, f"{fault} bad", tmp_path / "bad")
    assert finding["kind"] == kind
    assert words in finding["title"]
    assert alarms(program, f"{fault} good", tmp_path / "good") == []


@pytest.mark.parametrize("how", HEALTHY)
def test_a_healthy_program_that_looks_ill(program: pathlib.Path, tmp_path: pathlib.Path, how: str) -> None:
    assert alarms(program, how, tmp_path / "core") == []


@pytest.fixture(scope="session")
def border(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if GO is None:
        pytest.skip("go is not installed")
    return build_go(HERE / "outlived.go", tmp_path_factory.mktemp("outlived") / "program", cgo=True)


@pytest.mark.parametrize("how,words", [
    # Where one of the pages serves a living goroutine's stack by now, nothing is said of that word.
    ("table", r"that was freed: table\[\d+\], and \d+ more words"),
    ("array", r"that was freed: queue.items->obj, and \d+ more words"),  # in a chunk of 640 B
    ("list", r"that was freed: listeners->user, and \d+ more words"),
    ("stacks", r"that was freed: table\[\d+\], and \d+ more words"),
])
def test_go_objects_that_one_container_of_c_keeps_are_one_finding(border: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, how: str, words: str) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    monkeypatch.setenv("GODEBUG", "cgocheck=0")
    (finding,) = alarms(border, f"{how} bad", tmp_path / "bad")
    assert finding["kind"] == "cgo.pointer.outlived"
    assert re.search(words, finding["title"])
    assert how != "stacks" or any("FREED stack" in e["value"] for e in finding["evidence"])
    assert alarms(border, f"{how} good", tmp_path / "good") == []


def test_behind_the_count_of_an_array_nothing_is_kept(border: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    monkeypatch.setenv("GODEBUG", "cgocheck=0")
    assert alarms(border, "array shrunk", tmp_path / "core") == []
