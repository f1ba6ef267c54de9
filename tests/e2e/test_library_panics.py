"""WHERE names what the program called of the standard library, and the program's own line, not a helper of the library's."""
import pathlib
import re

import pytest
from support import go_core, report


@pytest.mark.parametrize("how,where,read", [
    ("nil", r"sync\.\(\*RWMutex\)\.RLock \(rwmutex\.go:\d+\), called from main\.\(\*tree\)\.walk \(library_panics\.go:17\), goroutine 1", r"main\.\(\*tree\)\.walk"),
    ("again", r"main\.handle\.func1 \(library_panics\.go:\d+\), deferred, run by the panic in main\.\(\*tree\)\.walk \(library_panics\.go:17\), goroutine 1",
     r"main\.\(\*tree\)\.walk"),
    ("repeat", r"strings\.Repeat \(strings\.go:\d+\), called from main\.pad \(library_panics\.go:23\), goroutine 1", r"main\.pad"),
])
def test_where(tmp_path: pathlib.Path, how: str, where: str, read: str) -> None:
    finding, = report("analyze", *go_core("library_panics", how, tmp_path))["findings"]
    assert finding["kind"] == "crash.panic" and re.fullmatch(where, finding["where"]), finding["where"]
    assert re.match(rf"read {read} \(library_panics\.go", finding["remedy"]), finding["remedy"]
