"""Go libraries in a C program. C may call whatever they export at any time; and each brings a Go runtime of its own, of
which one is read and the others are named."""
import pathlib
import shutil
import subprocess

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None or not shutil.which("gcc"), reason="go or gcc is not installed")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("shared_library")
    for name, flags in (("plain.so", []), ("stripped.so", ["-ldflags=-s -w"])):
        build_go(HERE / "shared_library.go", folder / name, "-buildmode=c-shared", *flags, cgo=True)
    subprocess.run(["gcc", "-O1", "-pthread", "-o", folder / "host", HERE / "shared_library_host.c", "-ldl"], check=True)
    return folder


def core_of(folder: pathlib.Path, tmp_path: pathlib.Path, library: str, what: str, *further: str) -> pathlib.Path:
    return kernel_core(folder / "host", " ".join([str(folder / library), what, *(str(folder / f) for f in further)]), tmp_path)


def at_warning(r: dict) -> list[dict]:
    return [f for f in r["findings"] if f["severity"] in ("error", "warning")]


@pytest.mark.parametrize("library", ["plain.so", "stripped.so"])
def test_c_may_give_back_what_it_took(folder: pathlib.Path, tmp_path: pathlib.Path, library: str) -> None:
    r = report("analyze", core_of(folder, tmp_path, library, "take"), folder / "host")
    assert [f["kind"] for f in at_warning(r) if f["kind"].startswith("go.")] == []
    orphaned = next(f for f in r["findings"] if f["kind"] == "go.mutex.orphaned")
    assert "call from C that runs Give" in orphaned["innocent"]


@pytest.mark.parametrize("library", ["plain.so", "stripped.so"])
def test_what_no_exported_function_gives_back_is_orphaned(folder: pathlib.Path, tmp_path: pathlib.Path, library: str) -> None:
    r = report("analyze", core_of(folder, tmp_path, library, "lose"), folder / "host")
    (orphaned,) = [f for f in at_warning(r) if f["kind"] == "go.mutex.orphaned"]
    assert any("5 functions that C may call" in e["what"] for e in orphaned["evidence"])


@pytest.mark.parametrize("first,second", [("plain.so", "stripped.so"), ("stripped.so", "plain.so")])
def test_a_further_runtime_is_named(folder: pathlib.Path, tmp_path: pathlib.Path, first: str, second: str) -> None:
    r = report("analyze", core_of(folder, tmp_path, first, "die", second), folder / "host")
    (gap,) = [g for g in r["gaps"] if g["what"].startswith("another Go runtime")]
    assert first in gap["what"] and gap["damage"]
    # The one that died is read, though it was loaded later.
    assert r["crash"]["kind"] == "go-panic" and r["findings"][0]["where"].startswith("main.Die.func1 (")
    assert [f["kind"] for f in at_warning(r)] == ["crash.panic"]


def test_a_child_of_fork_has_lost_the_runtimes_threads(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    r = report("analyze", core_of(folder, tmp_path, "stripped.so", "fork"), folder / "host")
    (gap,) = [g for g in r["gaps"] if "child of fork" in g["why"]]
    assert gap["what"].endswith("threads of the Go runtime") and gap["damage"]
    returns = [s["points_to"] for f in r["crash"]["snapshots"] for s in f["slots"] if s["name"] == "return"]
    assert any(text.startswith("text: give_up+") for text in returns) and not any("neighbour" in text for text in returns)
    r = report("analyze", core_of(folder, tmp_path, "stripped.so", "take"), folder / "host")
    assert not any("fork" in g["why"] for g in r["gaps"])
