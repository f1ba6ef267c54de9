"""What an allocation has taken and not cleared yet holds its last owner's words: they are nobody's pointers, and no damage."""
import pathlib
import shutil
import subprocess

import pytest
from support import GO, build_go, report

HERE = pathlib.Path(__file__).parent
GDB = shutil.which("gdb")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_go(HERE / "unmade.go", tmp_path_factory.mktemp("unmade") / "program")


@pytest.mark.skipif(GO is None or GDB is None, reason="go or gdb is not installed")
@pytest.mark.parametrize("mode,size,first", [("small", 64, "!= 0"), ("large", 896, "== 0xabababababababab")])
def test_what_an_allocation_has_not_cleared_yet(program: pathlib.Path, tmp_path: pathlib.Path, mode: str, size: int, first: str) -> None:
    core = tmp_path / "core"
    said = subprocess.run([GDB, "-q", "-nx", "-batch", "-ex", "handle all nostop noprint pass", "-ex", "break main.want", "-ex", f"run {mode}",
                           "-ex", "disable 1", "-ex", "set language c", "-ex", f"tbreak runtime.memclrNoHeapPointers if $rbx == {size} && *(unsigned long *) $rax {first}", "-ex", "continue",
                           "-ex", f"gcore {core}", "-ex", "kill", program],
                          capture_output=True, text=True, timeout=120)
    if "hit Temporary breakpoint 2" not in said.stdout or not core.exists():
        pytest.skip(f"gdb did not stop there: {said.stdout[-300:]}{said.stderr[-300:]}")
    try:
        r = report("analyze", core, program)
        assert [f["kind"] for f in r["findings"] if f["severity"] != "info"] == [], r["findings"]
        assert r["gaps"] == []
        alone = report("analyze", core, "--sysroot", tmp_path / "nothing")  # and without the executable nobody knows what it was doing
        assert [f["kind"] for f in alone["findings"] if f["severity"] != "info"] == [], alone["findings"]
    finally:
        core.unlink()  # a gigabyte, dense
