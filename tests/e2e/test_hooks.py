"""Locks and groups that are given back by what the standard library calls, in one of many cases of a switch, and by methods
that are called through interfaces."""
import pathlib

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None, reason="go is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_go(HERE / "hooks.go", tmp_path_factory.mktemp("hooks") / "program")


@pytest.mark.parametrize("mode,holder", [
    ("connection", "net/http.(*conn).serve"),
    ("queue", "main.(*queue).collect"),
    ("switch", "main.(*book).read"),
])
def test_who_gives_back_is_told(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                mode: str, holder: str) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    r = report("analyze", kernel_core(program, mode, tmp_path), program)
    assert [f["kind"] for f in r["findings"] if f["severity"] != "info"] == []
    holders = {h["goroutine"] for k in r["locks"] if k["waiters"] for h in k["holders"]}
    functions = {f["function"] for g in r["goroutines"] if g["id"] in holders for f in g["frames"]}
    assert holder in functions, r["locks"]
    assert all(k["waiters"] for k in r["locks"] if k["type"] == "sync.WaitGroup"), "made of words that are no group"


def findings_of(program: pathlib.Path, mode: str, folder: pathlib.Path) -> list[dict]:
    return [f for f in report("analyze", kernel_core(program, mode, folder), program)["findings"] if not f["kind"].startswith("crash.")]


@pytest.mark.parametrize("mode,kind,who", [
    ("cleanup", "go.waitgroup.stuck", "cleanup that runs main.main.func"),
    ("queued", "go.mutex.orphaned", "(*main.transaction).Close of the value at 0x"),
    ("context", "go.mutex.orphaned", "(*main.transaction).Close of the value at 0x"),
])
def test_who_may_give_back_accuses_nobody(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                          mode: str, kind: str, who: str) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    (finding,) = findings_of(program, mode, tmp_path)
    assert (finding["kind"], finding["severity"]) == (kind, "info")
    assert who in " ".join(finding["innocent"])
    assert "nobody alive" not in finding["title"]


@pytest.mark.parametrize("mode", ["teller", "ended", "embedded"])
def test_methods_that_give_nothing_back_excuse_nobody(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                                      mode: str) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    (finding,) = findings_of(program, mode, tmp_path)
    assert (finding["kind"], finding["severity"]) == ("go.mutex.orphaned", "error")


def test_what_a_callee_takes_is_not_held_before(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    assert findings_of(program, "values", tmp_path) == []
