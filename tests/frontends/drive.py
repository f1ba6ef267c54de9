"""Runs the real lldb and the real gdb in batch mode, and reads backtraces out of what they print."""
from __future__ import annotations

import os
import re
import shutil
import subprocess

import support

PLUGIN = support.ROOT / "build" / "lldb-plugin" / "incident_lldb.so"
PLUGIN = type(PLUGIN)(os.environ.get("INCIDENT_LLDB_PLUGIN", PLUGIN))
SCRIPT = support.ROOT / "gdb-scripts" / "incident_gdb.py"
# Backtraces are compared for these. 1.16 differs (lldb cannot read its .zdebug sections, gdb stops below a panic); others are untried.
EQUAL = ("1.25", "1.27")
LLDB, GDB = shutil.which("lldb-19"), shutil.which("gdb")
# What the engine leaves out, as Go's own tracebacks do, because the compiler or reflect put it around a call.
WRAPPER = re.compile(r"(\.gowrap\d+|-fm|·dwrap·\d+|\.deferwrap\d+|^runtime\.call\d+|^reflect\.(callReflect|callMethod|makeFuncStub|methodValueCall)"
                     r"|^runtime\.(deferCallSave|reflectcall|deferreturn|callReflect))$")


def environment(**changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR") and not k.startswith("INCIDENT")}
    return {**kept, "INCIDENT": str(support.BIN), "LLDB_DISABLE_CRASH_DIAGNOSTICS": "1", **changes}


def run(words: list[object], **changes: str) -> support.Run:
    done = subprocess.run([str(w) for w in words], capture_output=True, timeout=180, stdin=subprocess.DEVNULL, env=environment(**changes))
    assert done.returncode >= 0, f"the debugger died of signal {-done.returncode}: {done.stderr[-2000:]!r}"
    return support.Run(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def answering(text: str, code: int) -> str:
    """Body of a shell script that answers each question of the protocol with this."""
    return f"""while read -r question; do printf '{{"code": {code}, "out": {len(text)}, "err": 0}}\\n{text}'; done"""


def lldb(case: support.Case | None, *commands: str, **changes: str) -> support.Run:
    words: list[object] = [LLDB, "-b", "-x", "-o", f"plugin load {PLUGIN}"]
    for command in commands:
        words += ["-o", command]
    return run(words + (["-c", case.core, case.exe] if case else []), **changes)


def gdb(case: support.Case | None, *commands: str, **changes: str) -> support.Run:
    words: list[object] = [GDB, "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", f"source {SCRIPT}"]
    for command in commands:
        words += ["-ex", command]
    return run(words + ([case.exe, case.core] if case else []), **changes)


def plain(name: str) -> str:
    """As Go's own tracebacks name it: debuggers show the linker's names, main.f.abi0 and main.f[go.shape.int]."""
    name = "panic" if name == "runtime.gopanic" else name
    return re.sub(r"\.abi(0|internal)$", "", re.sub(r"\[.*?\]+", "[...]", name))


def without_wrappers(frames: list[tuple[int, str]], wanted: list[tuple[int, str]]) -> list[tuple[int, str]]:
    pcs = {pc for pc, _ in wanted}
    return [(pc, name) for pc, name in frames if pc in pcs or not WRAPPER.search(name)]


def parked(case: support.Case) -> dict[int, list[tuple[int, str]]]:
    """The engine's frames of every goroutine that has no thread: pc and function, inlined calls left out."""
    goroutines = support.report("goroutines", case.core, case.exe, "--stacks")["goroutines"]
    return {g["id"]: [(int(f["pc"], 16), f["function"]) for f in g["frames"] if not f["inlined"]]
            for g in goroutines if g["thread"] is None and g["frames"]}
