"""Deaths of plain C programs, built and cored on the spot by the machine's gcc and gdb."""
import pathlib
import shutil
import subprocess

import pytest
from support import incident, report

HERE = pathlib.Path(__file__).parent
needs_tools = pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("gdb")), reason="gcc or gdb is not installed")

DEATHS = [
    ("nil", "crash.fault", "nil pointer dereference: read at address 0", "walk"),
    ("overflow", "crash.stack-overflow", "stack overflow", "depth"),
    ("read-only", "crash.fault", "read-only memory", "main"),
    ("non-canonical", "crash.fault", "0x4141414141414141, which can be no address", "main"),
    ("nil-call", "crash.fault", "call of a nil function", "main"),
    ("assert", "crash.abort", "Assertion `argc > 5' failed", "main"),
    ("double-free", "crash.abort", "double free detected", "main"),
    ("abort", "crash.abort", "aborted", "main"),
    ("guard", "crash.fault", "without any permission", "main"),
    ("unmapped", "crash.fault", "where nothing is mapped", "main"),
    ("division", "crash.fault", "division by zero", "main"),
]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("native") / "crash"
    subprocess.run(["gcc", "-g", "-O1", "-w", "-fno-builtin", HERE / "crash.c", "-o", out], check=True)
    subprocess.run(["strip", "-o", out.with_name("stripped"), out], check=True)
    return out


def core_of(program: pathlib.Path, how: str, folder: pathlib.Path) -> pathlib.Path:
    core = folder / "core"
    subprocess.run(["gdb", "-nx", "-batch", "-ex", "set startup-with-shell off", "-ex", f"run {how}", "-ex", f"generate-core-file {core}", program],
                   check=True, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    return core


@needs_tools
@pytest.mark.parametrize("how,kind,title,function", DEATHS, ids=[d[0] for d in DEATHS])
def test_death(program: pathlib.Path, tmp_path: pathlib.Path, how: str, kind: str, title: str, function: str) -> None:
    core = core_of(program, how, tmp_path)
    r = report("crash", core, program)
    crashes = [f for f in r["findings"] if f["kind"].startswith("crash.")]
    assert [f["kind"] for f in crashes] == [kind]
    assert title in crashes[0]["title"]
    assert crashes[0]["severity"] == "error" and incident("crash", core, program).code == 1
    assert function in [f["function"] for f in r["crash"]["frames"]]


@needs_tools
def test_stripped_program_keeps_signal_and_offsets(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    stripped = program.with_name("stripped")
    r = report("crash", core_of(stripped, "nil", tmp_path), stripped)
    assert r["crash"]["fault_address"] == "0x0"
    first = r["crash"]["frames"][0]
    assert first["module"].endswith("stripped") and int(str(first["module_offset"]), 0) > 0
