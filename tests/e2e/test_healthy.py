"""Healthy C programs that look ill, as real ones do: nothing may be said of them but what they died of."""
import pathlib
import shutil
import subprocess

import pytest
from support import Run, incident, kernel_core

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("healthy") / "healthy"
    subprocess.run(["gcc", "-O1", "-w", "-pthread", HERE / "healthy.c", "-o", out], check=True)
    return out


def analyze(program: pathlib.Path, how: str, folder: pathlib.Path) -> Run:
    return incident("analyze", kernel_core(program, how, folder), program, "--format", "json")


@pytest.mark.parametrize("how", [
    "page",  # the address of a page in a stack whose thread has ended: whoever manages memory keeps such (qemu)
    "guest",  # into memory that ends like a stack, with the thread block of an emulator's guest
    "neighbour",  # into memory that ends with the main thread's own block: the kernel joins mappings (g++)
    "lie-four",  # a program that clears no pointer after free(): g++
    "lie-twelve",  # the same, of which one leads to the chunk that was freed last
    "apart",  # the thread is at taking a list apart: node in use, what it points to freed
    "cut-block",  # a large block of which a part has other flags: several mappings (x264, 7z: huge pages)
    "module",  # executable mapping of an ELF file of no machine: Guile's compiled modules
])
def test_nothing_is_said(program: pathlib.Path, tmp_path: pathlib.Path, how: str) -> None:
    run = analyze(program, how, tmp_path)
    assert [f["kind"] for f in run.json["findings"] if f["severity"] != "info"] == ["crash.abort"]
    assert run.json["gaps"] == [] and not any(m["path"].endswith("/module") for m in run.json["input"]["modules"])


def test_stopped_inside_malloc(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """One thread takes no lock: nothing but its frames says that malloc's data are between two states."""
    run = analyze(program, "inside-malloc", tmp_path)
    assert [f["kind"] for f in run.json["findings"]] == ["crash.requested"]
    assert run.code == 0
    heap = next(d for d in run.json["detectors"] if d["id"] == "native.heap")
    assert heap["outcome"] == "partial" and "stopped inside malloc" in heap["reason"]


def test_one_pointer_that_was_let_lie(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert [f["kind"] for f in analyze(program, "lie-one", tmp_path).json["findings"]] == ["crash.abort", "native.pointer.freed"]
