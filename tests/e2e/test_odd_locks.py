"""pthread locks that nothing gives back, with what makes that less certain: time limits."""
import pathlib
import shutil
import subprocess

import pytest
from support import incident, kernel_core

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")

# Each with its twin: what is certain, and what is only possible.
LOCKS = [
    ("normal", "native.mutex.orphaned", "likely", "error"),
    ("normal-timed", "native.mutex.orphaned", "possible", "warning"),
    ("self", "native.mutex.self-deadlock", "likely", "error"),
    ("self-timed", "native.mutex.self-deadlock", "possible", "warning"),
    ("inherit", "native.mutex.orphaned", "likely", "error"),
    ("inherit-self", "native.mutex.self-deadlock", "likely", "error"),
    ("rwlock", "native.rwlock.orphaned", "likely", "error"),
    ("rwlock-timed", "native.rwlock.orphaned", "possible", "warning"),
    ("rwlock-both", "native.rwlock.orphaned", "likely", "error"),
]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("locks") / "locks"
    subprocess.run(["gcc", "-g", "-O1", "-w", "-pthread", HERE / "locks.c", "-o", out], check=True)
    return out


@pytest.mark.parametrize("how,kind,strength,severity", LOCKS, ids=[row[0] for row in LOCKS])
def test_lock(program: pathlib.Path, tmp_path: pathlib.Path, how: str, kind: str, strength: str, severity: str) -> None:
    run = incident("analyze", kernel_core(program, how, tmp_path), program, "--only", "native", "--only", "lock", "--format", "json")
    assert [(f["kind"], f["strength"], f["severity"]) for f in run.json["findings"]] == [(kind, strength, severity)]
    assert run.json["findings"][0]["subject"]["symbol"] == ("rwlock" if "rwlock" in kind else "mutex")
    assert ("time limit" in str(run.json["findings"][0]["innocent"])) == (how in ("normal-timed", "self-timed", "rwlock-timed"))


def test_in_a_stripped_program_no_function_of_libcs_asks(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    bare = program.with_name("bare")
    subprocess.run(["strip", "-o", bare, program], check=True)
    for how in ("normal", "self"):
        folder = tmp_path / how
        folder.mkdir()
        run = incident("analyze", kernel_core(bare, how, folder), bare, "--only", "native.mutex", "--format", "json")
        assert " in bare+0x" in run.json["findings"][0]["where"]


def test_a_mutex_that_inherits_priorities_and_is_held_is_no_finding(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    run = incident("analyze", kernel_core(program, "inherit-held", tmp_path), program, "--only", "native", "--only", "lock", "--format", "json")
    assert run.json["findings"] == [] and run.json["locks"][0]["holders"]


def test_a_lock_that_was_freed_under_its_waiter(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    run = incident("analyze", kernel_core(program, "job-freed", tmp_path), program, "--only", "native", "--only", "lock", "--format", "json")
    assert [(f["kind"], f["strength"], f["severity"]) for f in run.json["findings"]] == [("native.pointer.freed", "likely", "error")]
    finding = run.json["findings"][0]
    assert finding["where"] == "asked for in wait_for_job" and finding["title"] == f"Thread {finding['threads'][0]} waits for a lock that was freed"
    said = str(finding["evidence"])
    assert "FREED" in said and "job" in said, "the variable that still leads there is evidence, no finding of its own"


def test_a_lock_of_an_object_in_use_is_no_finding(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    run = incident("analyze", kernel_core(program, "job", tmp_path), program, "--only", "native", "--only", "lock", "--format", "json")
    assert run.json["findings"] == [] and run.json["locks"][0]["waiters"]


def test_threads_that_join_each_other_in_a_circle(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    run = incident("analyze", kernel_core(program, "ring", tmp_path), program, "--only", "lock", "--format", "json")
    assert [(f["kind"], f["strength"], f["severity"]) for f in run.json["findings"]] == [("lock.cycle", "likely", "error")]
    finding = run.json["findings"][0]
    assert len(finding["threads"]) == 3 and "join_next" in finding["where"] and "pthread_join" in finding["why"]


def test_threads_that_join_each_other_in_a_row_are_no_finding(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    run = incident("analyze", kernel_core(program, "row", tmp_path), program, "--only", "lock", "--format", "json")
    assert run.json["findings"] == [] and len(run.json["wait_graph"]["edges"]) == 2


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-gcc is not installed")
def test_musls_locks_are_not_read_and_silence_is_no_health(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    musl = program.with_name("musl")
    subprocess.run(["musl-gcc", "-g", "-O1", "-w", "-D_GNU_SOURCE", HERE / "locks.c", "-o", musl], check=True)
    run = incident("analyze", kernel_core(musl, "self", tmp_path), musl, "--only", "native", "--format", "json")
    assert run.code == 3 and run.json["findings"] == []
    of_mutexes = next(d for d in run.json["detectors"] if d["id"] == "native.mutex")
    assert of_mutexes["outcome"] == "partial" and of_mutexes["coverage"]["unchecked"] == 1 and "musl" in of_mutexes["reason"]
