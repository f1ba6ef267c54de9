"""WHERE names what the program called of the standard library, and the program's own line, not a helper of the library's."""
import pathlib
import re

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None, reason="go is not installed")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_go(HERE / "library_panics.go", tmp_path_factory.mktemp("library_panics") / "program")


@pytest.mark.parametrize("how,where,read", [
    ("nil", r"sync\.\(\*RWMutex\)\.RLock \(rwmutex\.go:\d+\), called from main\.\(\*tree\)\.walk \(library_panics\.go:17\), goroutine 1", r"main\.\(\*tree\)\.walk"),
    ("again", r"main\.handle\.func1 \(library_panics\.go:\d+\), deferred, run by the panic in main\.\(\*tree\)\.walk \(library_panics\.go:17\), goroutine 1",
     r"main\.\(\*tree\)\.walk"),
    ("repeat", r"strings\.Repeat \(strings\.go:\d+\), called from main\.pad \(library_panics\.go:23\), goroutine 1", r"main\.pad"),
])
def test_where(program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, how: str, where: str, read: str) -> None:
    monkeypatch.setenv("GOTRACEBACK", "crash")
    finding, = report("analyze", kernel_core(program, how, tmp_path), program)["findings"]
    assert finding["kind"] == "crash.panic" and re.fullmatch(where, finding["where"]), finding["where"]
    assert re.match(rf"read {read} \(library_panics\.go", finding["remedy"]), finding["remedy"]
