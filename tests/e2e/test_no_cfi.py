"""Stacks through a library that was built without unwind tables."""
import pathlib
import shutil
import subprocess

import pytest
from support import kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")

NO_TABLES = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-exceptions"]


@pytest.fixture(scope="session", params=["linked in", "shared"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The library in the program, and called by way of the PLT."""
    folder = tmp_path_factory.mktemp("no-cfi")
    out, shared = folder / "program", request.param == "shared"
    library = folder / ("libsettle.so" if shared else "settle.o")
    subprocess.run(["gcc", "-O2", "-fPIC", *NO_TABLES, *(["-shared"] if shared else ["-c"]), HERE / "no_cfi.c", "-o", library], check=True)
    subprocess.run(["gcc", "-O0", "-g", HERE / "no_cfi_main.c", library, f"-Wl,-rpath,{folder}", "-o", out], check=True)
    return out


@pytest.mark.parametrize("how,inner", [
    ("settle", ["settle", "lib_settle"]),
    # abort() does not return, and the frame pointer is request's: neither may skip what lies between.
    ("", ["give_up", "lib_give_up"]),
])
def test_every_frame_is_there(program: pathlib.Path, tmp_path: pathlib.Path, how: str, inner: list[str]) -> None:
    frames = report("threads", kernel_core(program, how, tmp_path), program)["threads"][0]["frames"]
    own = [f for f in frames if "libc" not in f["module"] and f["function"] != "_start"]
    assert [f["function"] for f in own] == [*inner, "request", "main"], frames
    if how:
        assert {f["trust"] for f in frames} == {"context", "cfi"}
