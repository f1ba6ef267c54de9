"""Waits that hang together are one finding, at its root: who waits behind a leaked goroutine, a circle or a lock is told there, and
a whole program that waits is told by the one behind whom the others stand. The twins stay silent."""
import pathlib

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
# mode: the kind, words of title and WHERE, words of a line of evidence
STORIES = {
    "behind-channel": ("go.goroutine.leaked", "is blocked forever on a channel", "main.receiveOrder", "to send to a channel or close it, in main.awaitOrder"),
    "behind-circle": ("lock.cycle", "wait for each other in a circle", "main.holdBoth", "to call Done, in main.gather"),
    "wait-in-loop": ("go.waitgroup.stuck", "A WaitGroup waits for a Done that nobody alive will make", "main.runAll", ""),
    "callback-keeps": ("go.mutex.orphaned", "", "main.(*stock).count", "it waits for ever, too, in main.awaitThen"),
    "leaked-holder": ("go.mutex.orphaned", "holds a lock and waits for ever: main.inventory.mu", "main.refill", "its Unlock is still before it"),
    "cond-relock": ("go.mutex.orphaned", "A lock is held", "wait for it in main.(*gate).pass;", "1 goroutine waits for it, in main.(*gate).pass"),
    "nobody-signals": ("go.goroutine.leaked", "on a condition: all other goroutines wait, too", "main.(*gate).pass", "to send to a channel or close it, in main."),
    "keyed-locks": ("go.mutex.orphaned", "who might unlock it waits for ever", "main.(*keyedLocks).lock", "main.(*keyedLocks).unlock"),
}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if GO is None:
        pytest.skip("go is not installed")
    return build_go(HERE / "stories.go", tmp_path_factory.mktemp("stories") / "program")


@pytest.fixture(autouse=True)
def crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")


def findings(program: pathlib.Path, how: str, folder: pathlib.Path) -> list[dict]:
    folder.mkdir(exist_ok=True)
    return [f for f in report("analyze", kernel_core(program, how, folder), program)["findings"] if f["severity"] != "info"]


@pytest.mark.parametrize("story", STORIES)
def test_a_story_and_its_twin(program: pathlib.Path, tmp_path: pathlib.Path, story: str) -> None:
    kind, title, where, line = STORIES[story]
    (finding,) = findings(program, f"{story} bad", tmp_path / "bad")
    assert finding["kind"] == kind, finding
    assert title in finding["title"] and where in finding["where"], finding
    assert any(line in e["what"] for e in finding["evidence"]), finding["evidence"]
    assert findings(program, f"{story} good", tmp_path / "good") == []


def test_who_waits_for_a_ticker_may_run(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GODEBUG", "asynctimerchan=1")
    assert findings(program, "ticks good", tmp_path) == []


def test_a_deadlock_is_told_where_the_others_wait_for(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (finding,) = findings(program, "deadlock bad", tmp_path)
    assert finding["kind"] == "crash.fatal"
    assert finding["where"].startswith("main.receiveOrder (stories.go:"), finding["where"]
    assert finding["why"].endswith("and 1 other waits for it; nothing is left that could wake them"), finding["why"]
    assert finding["snapshots"][0]["function"] == "main.receiveOrder"


def test_a_panic_that_package_testing_repeats_is_where_it_was(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (finding,) = findings(program, "closed bad", tmp_path)
    assert finding["kind"] == "crash.panic"
    assert finding["where"].startswith("main.publish (stories.go:"), finding["where"]


def test_an_iterator_that_nobody_can_stop(tmp_path: pathlib.Path) -> None:
    if GO is None:
        pytest.skip("go is not installed")
    program = build_go(HERE / "pulled.go", tmp_path / "program")
    (finding,) = findings(program, "bad", tmp_path / "bad")
    assert finding["kind"] == "go.goroutine.leaked"
    assert "on the next or stop of an iter.Pull" in finding["title"]
    assert finding["where"].startswith("main.")
    assert "defer stop()" in finding["remedy"]
    assert findings(program, "good", tmp_path / "good") == []
