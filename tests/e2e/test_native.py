"""Deaths of plain C programs, built and cored on the spot by the machine's gcc and gdb."""
import pathlib
import shutil
import subprocess

import pytest
from support import incident, kernel_core, report

HERE = pathlib.Path(__file__).parent
needs_tools = pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("gdb")), reason="gcc or gdb is not installed")

DEATHS = [
    ("nil", "crash.fault", "null pointer dereference: read at address 0", "walk"),
    ("overflow", "crash.stack-overflow", "stack overflow", "depth"),
    ("read-only", "crash.fault", "read-only memory", "main"),
    ("non-canonical", "crash.fault", "0x4141414141414141, which can be no address", "main"),
    ("nil-call", "crash.fault", "call of a null function: jump to 0x0", "main"),
    ("assert", "crash.abort", "Assertion `argc > 5' failed", "main"),
    ("double-free", "crash.abort", "double free detected", "main"),
    ("abort", "crash.abort", "aborted", "main"),
    ("guard", "crash.fault", "without any permission", "main"),
    ("unmapped", "crash.fault", "where nothing is mapped", "main"),
    ("division", "crash.fault", "division by zero", "main"),
    ("division-overflow", "crash.fault", "division overflow", "main"),
    ("large-frame", "crash.stack-overflow", "a local array or alloca() of that size", "main"),
    ("misaligned", "crash.fault", "the instruction wants a multiple of 16", "main"),
    ("wild-call", "crash.fault", "call to 0x4141414141414140, which can be no address", "main"),
    ("low-call", "crash.fault", "jump to 0x1234, where no code can be", "main"),
    ("data-call", "crash.fault", "which is not code", "main"),
    ("wild-frame", "crash.fault", "read through 0x4141414141414141, which can be no address", "main"),
    ("wild-stack", "crash.fault", "through a stack pointer (0x4141414141414140) that can be no address", "main"),
    ("wild-return", "crash.fault", "return to 0x4141414141414140, which can be no address", "main"),
    ("text-return", "crash.fault", "return to 0x7478657420, which is not code", None),
    ("trap", "crash.fault", "executed `ud2`", "main"),
    ("rseq", "crash.fault", "from the kernel, which no access explains", "main"),
    ("privileged", "crash.fault", "executed `hlt`, which only the kernel may", "main"),
    ("no-room-for-signal", "crash.fault", "SIGSEGV from the kernel, which no access explains", "main"),
]
# The fault that a handler of the program's own turned into an abort().
HANDLED = [
    ("handled-nil", "crash.fault", "null pointer dereference: read at address 0", "walk"),
    ("handled-mapped-since", "crash.fault", "where nothing was mapped; by now something is", "walk"),
    ("handled-overflow", "crash.stack-overflow", "stack overflow", "depth"),
]


FREES = [
    ("free-middle", "native.heap.bad-free", "free() was given the middle of a chunk"),
    ("free-number", "native.heap.bad-free", "free() was given 0x1, where nothing is mapped"),
    ("free-unmapped", "native.heap.bad-free", "where nothing is mapped"),
    ("free-written-free", "native.heap.double-free", "the same chunk was freed twice"),
    ("free-top", "native.heap.double-free", "the same chunk was freed twice"),
    ("free-local", "native.heap.bad-free", "free() was given what malloc never gave"),
]
# Of a freed chunk what was followed, and what glibc had written there.
FREED = [("freed-member", "is the mangled list pointer in malloc chunk"), ("freed-mark", "is the mark that free() leaves in the second word of malloc chunk"), ("freed-method", "is the mangled list pointer in malloc chunk")]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("native") / "crash"
    subprocess.run(["gcc", "-g", "-O1", "-w", "-fno-builtin", "-pthread", HERE / "crash.c", "-o", out], check=True)
    subprocess.run(["strip", "-o", out.with_name("stripped"), out], check=True)
    return out


def core_of(program: pathlib.Path, how: str, folder: pathlib.Path, passed: str = "SIGALRM") -> pathlib.Path:
    """`passed`: the signal that the program handles; gdb lets it through, and cores the process when it dies."""
    core = folder / "core"
    subprocess.run(["gdb", "-nx", "-batch", "-ex", "set startup-with-shell off", "-ex", f"handle {passed} nostop pass", "-ex", f"run {how}", "-ex", f"generate-core-file {core}", program],
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


@pytest.mark.parametrize("how,title,remedy", [("short-file", "its file is shorter than the mapping", "which file was mapped there"),
                                             ("no-page", "no page could be had there, and no file is mapped", "userfaultfd")])
def test_only_a_file_can_be_too_short(program: pathlib.Path, tmp_path: pathlib.Path, how: str, title: str, remedy: str) -> None:
    finding, = report("crash", kernel_core(program, how, tmp_path), program)["findings"]
    assert finding["kind"] == "crash.fault" and title in finding["title"] and remedy in finding["remedy"]


@needs_tools
@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("how,kind,title", FREES, ids=[f[0] for f in FREES])
def test_free_of_what_is_not_mallocs(program: pathlib.Path, tmp_path: pathlib.Path, how: str, kind: str, title: str, stripped: bool) -> None:
    exe = program.with_name("stripped") if stripped else program
    errors = [f for f in report("analyze", core_of(exe, how, tmp_path), exe)["findings"] if f["severity"] == "error"]
    assert [f["kind"] for f in errors] == [kind] and title in errors[0]["title"]


@needs_tools
@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("how,why", FREED)
def test_what_free_wrote_was_followed(program: pathlib.Path, tmp_path: pathlib.Path, how: str, why: str, stripped: bool) -> None:
    exe = program.with_name("stripped") if stripped else program
    findings = [f for f in report("analyze", core_of(exe, how, tmp_path), exe)["findings"] if f["severity"] == "error"]
    assert [(f["kind"], f["strength"]) for f in findings] == [("native.pointer.freed", "proved")]
    assert why in findings[0]["why"]
    where = "stripped+0x" if stripped else {"freed-member": "freed_member", "freed-mark": "twice_closed", "freed-method": "closed_then_called"}[how]
    assert findings[0]["where"].startswith(where)


@needs_tools
def test_what_it_died_of_comes_before_damage_that_nobody_noticed(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    findings = report("analyze", core_of(program, "overrun-then-freed-member", tmp_path), program)["findings"]
    assert [(f["kind"], f["strength"]) for f in findings[:2]] == [("native.pointer.freed", "proved"), ("native.heap.corrupt", "proved")]
    assert findings[0]["related"] and findings[1]["where"] == "noticed by nobody yet"


@needs_tools
def test_a_halt_is_how_musl_gives_up(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert "musl (a_crash, when its heap" in report("crash", core_of(program, "privileged", tmp_path), program)["findings"][0]["why"]


@needs_tools
def test_the_function_of_libc_that_faulted_is_named(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    finding = report("crash", core_of(program, "length", tmp_path), program)["findings"][0]
    assert finding["title"].startswith("null pointer dereference") and finding["where"].startswith("strlen, called from main (crash.c:")


@needs_tools
@pytest.mark.parametrize("how,kind,title,function", HANDLED, ids=[d[0] for d in HANDLED])
def test_death_below_a_handler(program: pathlib.Path, tmp_path: pathlib.Path, how: str, kind: str, title: str, function: str) -> None:
    core = core_of(program, how, tmp_path, passed="SIGSEGV")
    r = report("crash", core, program)
    assert r["crash"]["kind"] == "signal" and r["crash"]["signal"]["name"] == "SIGSEGV"
    assert r["findings"][0]["kind"] == kind and title in r["findings"][0]["title"]
    assert "the handler of SIGSEGV ran when the process ended, in give_up" in r["findings"][0]["explanation"]
    functions = [f["function"] for f in r["crash"]["frames"]]
    assert functions[0] == function and "give_up" not in functions


@needs_tools
def test_a_handler_that_ends_the_process_for_what_somebody_sent(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """redis, ruby and java do for kill -SEGV."""
    run = incident("crash", kernel_core(program, "asked", tmp_path), program, "--format", "json")
    assert run.code == 0 and run.json["crash"]["kind"] == "requested" and run.json["crash"]["signal"]["name"] == "SIGSEGV"
    assert "SIGSEGV sent by pid" in run.json["findings"][0]["title"]
    assert "give_up" in str(run.json)


@needs_tools
@pytest.mark.parametrize("how,signal,title,advice", [
    ("sent-again", "SIGSEGV", "null pointer dereference: read at address 0", "which pointer can be null there"),
    ("raise", "SIGSEGV", "the program sent itself SIGSEGV", "what does it do there that raises such a signal"),
    ("raise-illegal", "SIGILL", "the program sent itself SIGILL", "which check stands there"),
    ("int3", "SIGTRAP", "breakpoint instruction (int3) without a debugger", "which check stands there"),
    ("refused", "SIGSYS", "system call 110 was refused by a seccomp filter", "allow the call in the filter"),
    ("cpu-limit", "SIGXCPU", "used up its CPU time", "which loop runs"),
    ("file-limit", "SIGXFSZ", "wrote beyond its limit of file size", "raise the limit"),
])
def test_signals_that_gdb_would_not_tell(program: pathlib.Path, tmp_path: pathlib.Path, how: str, signal: str, title: str, advice: str) -> None:
    run = incident("crash", kernel_core(program, how, tmp_path), program, "--format", "json")
    crash, finding = run.json["crash"], run.json["findings"][0]
    assert run.code == 1 and finding["severity"] == "error" and finding["kind"] == "crash.fault"
    assert crash["kind"] == "signal" and crash["signal"]["name"] == signal
    assert title in finding["title"] and advice in finding["remedy"]
    if how == "sent-again":
        assert crash["fault_address"] == "0x0" and crash["frames"][0]["function"] == "walk"


@needs_tools
def test_a_watchdog_asks_for_a_core(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Nothing aborted: the thread that kill(getpid(), SIGABRT) reached only waited."""
    run = incident("crash", kernel_core(program, "watchdog", tmp_path), program, "--format", "json")
    assert run.code == 0 and run.json["crash"]["kind"] == "requested"
    assert run.json["findings"][0]["title"] == "the program sent itself SIGABRT"


@needs_tools
def test_stripped_program_keeps_signal_and_offsets(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    stripped = program.with_name("stripped")
    r = report("crash", core_of(stripped, "nil", tmp_path), stripped)
    assert r["crash"]["fault_address"] == "0x0"
    first = r["crash"]["frames"][0]
    assert first["module"].endswith("stripped") and int(str(first["module_offset"]), 0) > 0
