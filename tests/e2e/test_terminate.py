"""Deaths by std::terminate(): the exception, where it was thrown, and what else ends a C++ program."""
import pathlib
import shutil
import subprocess

import pytest
from support import report
from test_native import core_of

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(not (shutil.which("g++") and shutil.which("gdb")), reason="g++ or gdb is not installed")

BUILDS = {"plain": ["-g", "-O0"], "stripped": ["-O2", "-s"], "static": ["-O2", "-static", "-s"]}
DEATHS = {
    "uncaught": "uncaught C++ exception ParseError: no '=' in line",
    "noexcept": "C++ exception out of a function that may not throw: ParseError: no '=' in rest",
    "thread": "uncaught C++ exception ParseError: no '=' in thread's line",
    "own-text": "uncaught C++ exception OwnText: a text long enough to stand on the heap",
    "mixed": "uncaught C++ exception Mixed",
    "both": "uncaught C++ exception Both: second base",
    "number": "uncaught C++ exception int: 42",
    "literal": "uncaught C++ exception char const*: a plain literal",
    "string": "uncaught C++ exception std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >: a string",
    "rethrown-pointer": "uncaught C++ exception ParseError: no '=' in kept",
    "nothing-to-throw": "`throw;` without an exception to throw again",
    "joinable": "a std::thread was destroyed or assigned to while it was joinable",
    "static-in-itself": "a static variable's initialization began anew inside itself",
    "pure": "pure virtual method called",
    "terminate": "std::terminate() was called",
}
# What only the names of frames tell.
NAMED = {"nothing-to-throw", "joinable", "pure", "terminate"}
THROWERS = {"uncaught": "parse", "noexcept": "parse", "thread": "parse", "rethrown-pointer": "main", "both": "main", "joinable": "main", "pure": "Shape::show", "static-in-itself": "settings"}


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("terminate")
    for name, flags in BUILDS.items():
        subprocess.run(["g++", "-std=c++17", "-w", "-pthread", *flags, HERE / "terminate.cpp", "-o", folder / name], check=True)
    return folder


@pytest.mark.parametrize("how", DEATHS)
def test_plain(programs: pathlib.Path, tmp_path: pathlib.Path, how: str) -> None:
    r = report("crash", core_of(programs / "plain", how, tmp_path), programs / "plain")
    assert r["crash"]["kind"] == "abort" and r["crash"]["message"] == DEATHS[how]
    finding = r["findings"][0]
    assert finding["kind"] == "crash.abort" and finding["title"] == DEATHS[how]
    assert finding["where"].startswith(THROWERS.get(how, "main"))
    assert ("exception object" in [e["what"] for e in finding["evidence"]]) == ("C++ exception" in DEATHS[how] or how == "static-in-itself")


@pytest.mark.parametrize("how", [h for h in DEATHS if h not in NAMED])
def test_stripped(programs: pathlib.Path, tmp_path: pathlib.Path, how: str) -> None:
    assert report("crash", core_of(programs / "stripped", how, tmp_path), programs / "stripped")["crash"]["message"] == DEATHS[how]


@pytest.mark.parametrize("how", ["uncaught", "noexcept", "both", "number", "in-catch"])
def test_static_and_stripped(programs: pathlib.Path, tmp_path: pathlib.Path, how: str) -> None:
    """Nothing but the runtime's record of the exception is left: what it is, not whether anything was to catch it."""
    message = report("crash", core_of(programs / "static", how, tmp_path), programs / "static")["crash"]["message"]
    text = "ParseError: no '=' in being handled" if how == "in-catch" else DEATHS[how].replace("uncaught C++ exception ", "").split("throw: ")[-1]
    assert message == f"aborted while a C++ exception was uncaught or being handled: {text}"


@pytest.mark.parametrize("build,how", [("plain", "caught"), ("plain", "in-catch"), ("stripped", "caught"), ("stripped", "in-catch"), ("static", "caught")])
def test_caught_exceptions_are_no_cause(programs: pathlib.Path, tmp_path: pathlib.Path, how: str, build: str) -> None:
    crash = report("crash", core_of(programs / build, how, tmp_path), programs / build)["crash"]
    assert crash["kind"] == "abort" and crash["message"] is None
