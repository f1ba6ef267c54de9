"""What died, where and why, against what the program and the runtime themselves said."""
import pathlib
import re

import pytest
from planted import Planted, each, planted
from support import Case, incident, report


def panics_stack(case: Case) -> list[tuple[str, str]]:
    """(function, file:line) of the dying goroutine as the runtime printed it, panic machinery left out."""
    block = re.search(r"^goroutine \d+ [^\n]*\[running[^\n]*\]:\n(.*?)^\s*$", case.truth().stderr, re.S | re.M)
    assert block, "the truth shows no running goroutine"
    frames = re.findall(r"^(\S.*)\(.*\)\n\t(\S+):(\d+)", block[1], re.M)
    return [(f, f"{file}:{line}") for f, file, line in frames if not re.match(r"panic$|runtime\.|created by", f)]


def user_frames(frames: list[dict]) -> list[tuple[str, str]]:
    return [(f["function"], f"{f['file']}:{f['line']}") for f in frames
            if not re.match(r"panic$|runtime\.", f["function"] or "runtime.")]


@pytest.mark.cores(mode="nilderef")
def test_nil_dereference(case: Case) -> None:
    r = report("crash", case.core, case.exe)
    crash = r["crash"]
    assert crash["kind"] == "go-panic"
    assert crash["signal"]["name"] == "SIGSEGV"
    assert crash["fault_address"] == "0x20"
    assert crash["message"] == "runtime error: invalid memory address or nil pointer dereference"
    faulting = next(g for g, f in case.truth().goroutines().items() if f["name"] == "faulting")
    assert crash["goroutine"] == faulting
    assert user_frames(crash["frames"]) == panics_stack(case)
    pc = re.search(r"addr=0x20 pc=(0x[0-9a-f]+)", case.truth().stderr)[1]
    assert crash["registers"]["rip"] == pc
    finding, = r["findings"]
    assert finding["kind"] == "crash.panic"
    assert re.fullmatch(r"read main\.\(\*account\)\.ownerName \S+: which pointer can be nil there, .*", finding["remedy"])


@pytest.mark.cores(mode="panicnested")
def test_nested_panics(case: Case) -> None:
    r = report("analyze", case.core, case.exe)
    crash = r["crash"]
    assert crash["kind"] == "go-panic"
    assert "coded error 4711" in crash["message"] or "codedError" in crash["message"]
    goroutine = next(g for g in r["goroutines"] if g["id"] == crash["goroutine"])
    values = [(p["value"], p["recovered"]) for p in goroutine["panics"]]
    # What the runtime printed of an error is a string by now: its type is not known any more. An int is one still.
    assert {p["type"] for p in goroutine["panics"]} == {None, "int"}
    assert len(values) == 4, values
    assert values[1] == ("33333", False) and values[2] == ("second: an error", True) and values[3] == ("first: a string", False)
    assert user_frames(crash["frames"]) == panics_stack(case)
    # The deferred function that panicked last was called by the panic before it.
    where = next(f["where"] for f in r["findings"] if f["kind"] == "crash.panic")
    assert ", deferred, run by the panic in main." in where and "called from" not in where, where


@pytest.mark.cores(mode="fatalmap")
def test_fatal_error(case: Case) -> None:
    crash = report("crash", case.core, case.exe)["crash"]
    assert crash["kind"] == "go-fatal"
    # The compiler's choice of map function decides which of the two texts the runtime has.
    assert crash["message"] in ("concurrent map writes", "concurrent map read and map write")
    assert any(f["function"] == "main.writer" for f in crash["frames"])


@pytest.mark.cores(mode="overflow")
def test_stack_overflow(case: Case) -> None:
    r = report("crash", case.core, case.exe)
    assert r["crash"]["kind"] == "go-fatal"
    assert r["crash"]["message"] == "stack overflow"
    assert [f["kind"] for f in r["findings"]] == ["crash.stack-overflow"]
    names = [f["function"] for f in r["crash"]["frames"]]
    assert names.count("main.descend") > 10 and names.count("main.ascend") > 10
    # A frame's number is its place in the whole stack, though not all of a very deep one are kept.
    depth = int(re.search(r"(\d+) frames", r["findings"][0]["why"])[1])
    missing = sum(f.get("left_out", 0) for f in r["crash"]["frames"])
    physical = sum(not f["inlined"] for f in r["crash"]["frames"])
    assert missing > 0 and physical <= depth - missing <= physical + 16, (depth, missing, physical)
    text = incident("crash", case.core, case.exe).out
    numbers = [int(n) for n in re.findall(r"#(\d+) +main\.", text)]
    assert numbers == sorted(numbers) and numbers[-1] >= missing + len(names) - 16
    left_out = re.search(r"… ([\d,]+) frames \(--all shows ([\d,]+) of them\)", text)
    assert int(left_out[1].replace(",", "")) - int(left_out[2].replace(",", "")) == missing


@pytest.mark.cores(mode="csegv")
def test_fault_in_c_called_from_go(case: Case) -> None:
    r = report("crash", case.core, case.exe)
    crash = r["crash"]
    assert [f["kind"] for f in r["findings"]] == ["crash.fault"]
    assert crash["kind"] == "signal"
    assert crash["fault_address"] == "0x18"
    wanted = ["c_store", "c_inner", "main.goInner", "main.goMiddle", "c_outer", "main.goOuter", "main.modeSegv.func1"]
    names = [f["function"] for f in crash["frames"] if f["function"] in wanted]
    assert names == wanted
    # Every stopped thread prints its registers; the one that died is the first.
    first_dump = re.search(r"^rax .*?^rflags", case.truth().stderr, re.S | re.M)
    registers = dict(re.findall(r"^(r\w+)\s+(0x[0-9a-f]+)$", first_dump[0] if first_dump else "", re.M))
    if case.minor <= 20:  # those runtimes print no registers here, and the kernel's copy is gone
        pc = re.search(r"addr=0x18 pc=(0x[0-9a-f]+)", case.truth().stderr)[1]
        assert crash["registers"]["rip"] == pc
        return
    assert len(registers) >= 16
    for name in ("rax", "rbx", "rcx", "rdx", "rdi", "rsi", "rbp", "rsp", "r8", "r15", "rip"):
        assert int(crash["registers"][name], 16) == int(registers[name], 16), name


@pytest.mark.cores(mode="healthy")
def test_quit_from_outside_is_no_fault(case: Case) -> None:
    r = report("crash", case.core, case.exe)
    assert r["crash"]["kind"] == "requested"
    assert r["crash"]["signal"]["name"] == "SIGQUIT"
    assert [(f["kind"], f["severity"]) for f in r["findings"]] == [("crash.requested", "info")]


@pytest.mark.cores(mode="chold")
def test_abort_from_c(case: Case) -> None:
    assert report("crash", case.core, case.exe)["crash"]["kind"] == "abort"


@pytest.mark.cores(mode="panicnested", versions=("1.19", "1.26"))
def test_abort_of_a_runtime_that_cannot_be_read(case: Case, tmp_path: pathlib.Path) -> None:
    """As garble leaves it: the version is no version. Then the abort is the program's, and nobody says C or libc did it."""
    version = report("crash", case.core, case.exe)["runtime"]["go"]["version"].encode()
    for name, path in (("core", case.core), ("exe", case.exe)):
        (tmp_path / name).write_bytes(pathlib.Path(path).read_bytes().replace(version, b"xx" + version[2:]))
    r = report("crash", tmp_path / "core", tmp_path / "exe")
    finding, = r["findings"]
    assert finding["kind"] == "crash.abort"
    assert finding["title"] == "aborted (SIGABRT that the program sent itself)"
    assert "the Go runtime could not be read" in finding["why"] and "stderr" in finding["why"]
    assert any("Go runtime" in gap["what"] for gap in r["gaps"])


@each([core for core in planted("heap", "heap-go1.*") if core.mode == "graph"])
def test_who_sends_itself_a_signal_is_named_by_its_own_code(core: Planted) -> None:
    """Not by runtime/internal/syscall, the name of that package up to Go 1.23."""
    assert re.search(r"^WHERE  main\.abort \(truth\.go:\d+\), called from main\.main ", core.print("crash"), re.M), core
