"""Healthy C programs that look ill, as real ones do: nothing may be said of them but what they died of."""
import os
import pathlib
import shutil
import subprocess

import pytest
from support import BIN, Run, incident, kernel_core

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
    "below",  # a word, of which nothing says that it is a pointer, into a frame just below the stack pointer: g++
    "queue",  # a block of a queue: words that lead to what was taken out and freed, then to what is in (node's tasks)
    "cut-block",  # a large block of which a part has other flags: several mappings (x264, 7z: huge pages)
    "module",  # executable mapping of an ELF file of no machine: Guile's compiled modules
    "image",  # executable mapping of a file that is no ELF file, without its first page: SBCL
])
def test_nothing_is_said(program: pathlib.Path, tmp_path: pathlib.Path, how: str) -> None:
    run = analyze(program, how, tmp_path)
    assert [f["kind"] for f in run.json["findings"] if f["severity"] != "info"] == ["crash.abort"]
    assert not [f["title"] for f in run.json["findings"] if " more word" in f["title"]], "more than none"
    assert run.json["gaps"] == [] and not any(m["path"].endswith("/module") for m in run.json["input"]["modules"])


@pytest.mark.parametrize("command", [["analyze"], ["maps", "--summary"]])
def test_holes_are_not_read(program: pathlib.Path, tmp_path: pathlib.Path, command: list[str]) -> None:
    """6 GB that the core file does not store (thousands of untouched stacks): page by page they took half a minute."""
    core = kernel_core(program, "hole", tmp_path)
    child = subprocess.Popen([BIN, *command, core, program, "-o", tmp_path / "report"])
    _, status, usage = os.wait4(child.pid, 0)
    core.unlink()
    assert os.waitstatus_to_exitcode(status) in (0, 1)
    assert usage.ru_maxrss < 1 << 20  # kB; pages of the file that were touched count


def test_stopped_inside_malloc(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """One thread takes no lock: nothing but its frames says that malloc's data are between two states."""
    run = analyze(program, "inside-malloc", tmp_path)
    assert [f["kind"] for f in run.json["findings"]] == ["crash.requested"]
    assert run.code == 0
    heap = next(d for d in run.json["detectors"] if d["id"] == "native.heap")
    assert heap["outcome"] == "partial" and "stopped inside malloc" in heap["reason"]


def test_one_pointer_that_was_let_lie(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert [f["kind"] for f in analyze(program, "lie-one", tmp_path).json["findings"]] == ["crash.abort", "native.pointer.freed"]


def test_what_stands_on_a_guess_is_not_judged(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "guessed"
    subprocess.run(["gcc", "-O1", "-w", "-fomit-frame-pointer", HERE / "guessed.c", "-o", program], check=True)
    run = incident("analyze", kernel_core(program, "", tmp_path), program, "--format", "json")
    frames = {f["function"]: f["trust"] for f in run.json["threads"][0]["frames"]}
    assert frames["inner"] == "scan" and frames["outer"] == "cfi"
    assert [f["kind"] for f in run.json["findings"]] == ["crash.abort"]


@pytest.mark.parametrize("strip,kinds", [("-s", ["crash.abort"]), ("-g0", ["crash.abort", "native.pointer.freed"])])
def test_a_word_of_a_library_that_nothing_names(tmp_path: pathlib.Path, strip: str, kinds: list[str]) -> None:
    (tmp_path / "library.c").write_text("#include <stdlib.h>\nstatic void *volatile kept;\nvoid keep(void) { kept = malloc(100); free(kept); }\n")
    (tmp_path / "main.c").write_text("#include <stdlib.h>\nvoid keep(void);\nint main(void) { keep(); abort(); }\n")
    library, program = tmp_path / "library.so", tmp_path / "program"
    subprocess.run(["gcc", "-O1", strip, "-shared", "-fPIC", tmp_path / "library.c", "-o", library], check=True)
    subprocess.run(["gcc", "-O1", tmp_path / "main.c", library, "-o", program], check=True)
    run = incident("analyze", kernel_core(program, "", tmp_path), program, "--format", "json")
    assert [f["kind"] for f in run.json["findings"] if f["severity"] != "info"] == kinds


@pytest.mark.parametrize("how,damage", [("moved-one", False), ("moved-two", True)])
def test_a_thread_may_be_at_moving_a_large_block(program: pathlib.Path, tmp_path: pathlib.Path, how: str, damage: bool) -> None:
    assert [g["damage"] for g in analyze(program, how, tmp_path).json["gaps"]] == [damage]


@pytest.mark.parametrize("command", [["heap"], ["goroutines"], ["goroutines", "--group"]])
def test_a_question_about_go_is_answered(program: pathlib.Path, tmp_path: pathlib.Path, command: list[str]) -> None:
    run = incident(command[0], kernel_core(program, "queue", tmp_path), program, *command[1:])
    assert "no Go runtime was found" in run.out
