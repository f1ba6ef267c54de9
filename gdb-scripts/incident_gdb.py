"""The `incident` command inside gdb: `source incident_gdb.py`, then `incident analyze`, or `help incident`.

The script takes the core's path from gdb, asks a child with limits (`incident serve`, kept for follow-up questions), and prints what it
answers. It knows nothing of the Go runtime: frames of a goroutine come from the engine's JSON. Surprises: gdb refuses to set $pc or $sp of a core, so a
parked goroutine is shown by an unwinder that says "the caller of frame 0 is the goroutine's innermost frame"; a frame filter hides
frame 0 from `bt`. Where gdb has DWARF it unwinds on by itself, because it computes variables only in frames that it unwound by DWARF.
"""
from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import gdb
from gdb.FrameDecorator import FrameDecorator
from gdb.unwinder import Unwinder, register_unwinder

HERE = os.path.dirname(os.path.realpath(__file__))


# --- the engine -----------------------------------------------------------------------------------------------------------------

def find_engine() -> str:
    """$INCIDENT, beside this script, the build tree, an installation's bin, PATH."""
    named = os.environ.get("INCIDENT")
    if named:
        return named
    for relative in ("incident", "../build/incident", "../../bin/incident"):
        path = os.path.join(HERE, relative)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    found = shutil.which("incident")
    if not found:
        raise gdb.GdbError("incident: the command was not found: neither $INCIDENT, nor beside the script, nor in PATH")
    return found


def limit(name: str, fallback: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() and int(text) > 0 else fallback


class Child:
    """The incident executable with its limits. `incident serve` is kept from one question to the next; a question is a line of JSON,
    an answer a line of JSON and then its bytes (docs/incident.1, serve)."""

    kept: "Child | None" = None
    asked: "Child | None" = None  # whom Ctrl-C ends

    def __init__(self, command: list[str], key: object = None) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # gdb's readline sets it to 80
        self.seconds = limit("INCIDENT_TIMEOUT", 600)
        half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        memory = limit("INCIDENT_MEMORY", max(half >> 20, 2048)) << 20
        self.key, self.out, self.err = key, bytearray(), bytearray()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C waits until there is somebody to kill
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                            env=environment, start_new_session=True)
            Child.asked = self
        except OSError as error:
            raise gdb.GdbError(f"incident: the command cannot be started: {error}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            # RLIMIT_DATA, not RLIMIT_AS: the whole core is mapped, and that is no memory.
            for what, value in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
                resource.prlimit(self.process.pid, what, (value, value))
        except (OSError, ValueError):
            pass  # it is over already, or a lower hard limit holds

    def tell(self, question: dict) -> bool:
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
            return True
        except OSError:
            return False

    def listen(self, enough: Callable[[], bool]) -> bool:
        """Reads until enough() or the end of the output; False: it ended before. Killed at its time limit."""
        end = time.monotonic() + self.seconds
        pipes = [self.process.stdout, self.process.stderr]
        try:
            while not enough():
                if not pipes:
                    return False
                if time.monotonic() > end:
                    raise gdb.GdbError(f"incident: the child was killed after {self.seconds} seconds ($INCIDENT_TIMEOUT sets this limit)")
                for pipe in select.select(pipes, [], [], 0.1)[0]:
                    piece = os.read(pipe.fileno(), 1 << 16)
                    if not piece:
                        pipes.remove(pipe)
                    elif pipe is self.process.stdout:
                        self.out += piece
                    else:
                        self.err += piece
            return True
        except gdb.GdbError:
            self.kill()
            raise

    def end(self) -> int:
        """Its exit code, once its output has ended. GdbError: it died."""
        try:
            code = self.process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise gdb.GdbError("incident: the child was killed: it closed its output and did not end") from None
        self.kill()
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = str(-code)
            raise gdb.GdbError(f"incident: the child died of signal {name}; gdb is not affected")
        return code

    def kill(self) -> None:
        if Child.kept is self:
            Child.kept = None
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                pipe.close()
            except OSError:
                pass  # what it did not read any more


@contextlib.contextmanager
def killed_by_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends the child that is started or asked in here, whenever it comes."""
    Child.asked = None
    try:
        yield
    except KeyboardInterrupt:
        if Child.asked is not None:
            Child.asked.kill()
        raise gdb.GdbError("incident: interrupted, the child was killed") from None


def result(code: int, out: bytearray, err: bytearray) -> str:
    """The answer's text; GdbError when there is none. Exit codes 1 (findings) and 3 (damaged input) are answers."""
    notes = err.decode(errors="replace").strip()
    if code not in (0, 1, 3):
        raise gdb.GdbError(notes or f"incident exited with code {code}")
    if notes:
        gdb.write(notes + "\n", gdb.STDERR)
    return out.decode(errors="replace")


def run_engine(arguments: list[str]) -> str:
    """For what is no question to a core."""
    with killed_by_ctrl_c():
        child = Child([find_engine(), *arguments])
        child.process.stdin.close()
        child.listen(lambda: False)
        return result(child.end(), child.out, child.err)


def identity(path: str) -> tuple:
    """A core that was written anew is another core."""
    try:
        found = os.stat(path)
    except OSError:
        return (path,)
    return (path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def ask_engine(arguments: list[str], columns: int | None = None) -> str:
    """One question to the core that gdb has open: the command line without CORE and EXE."""
    with killed_by_ctrl_c():
        return answer_of_engine(arguments, columns)


def answer_of_engine(arguments: list[str], columns: int | None) -> str:
    core, exe = core_path(), executable()
    command = [find_engine(), "serve", core, *exe]
    key = (command[0], identity(core), [identity(path) for path in exe], os.environ.get("INCIDENT_MEMORY"))
    question = {"args": arguments, "columns": columns or 0}
    child = Child.asked = Child.kept
    if child is None or child.key != key or not child.tell(question):  # new, or it died between two questions
        if child is not None:
            child.kill()
        child = Child.kept = Child(command, key)
        child.tell(question)  # if it does not listen, its output ends and says why
    child.out, child.err = bytearray(), bytearray()
    answer: dict = {}

    def complete() -> bool:
        if not answer:
            end = child.out.find(b"\n")
            if end < 0:
                return False
            try:
                answer.update(json.loads(child.out[:end]), begin=end + 1)
            except ValueError:
                raise gdb.GdbError("incident: the child does not speak this script's protocol: are both of one version?") from None
        return len(child.out) - answer["begin"] >= answer["out"] + answer["err"]

    if not child.listen(complete):
        code = child.end()
        raise gdb.GdbError(child.err.decode(errors="replace").strip() or f"incident: the child ended with code {code} and no answer")
    middle = answer["begin"] + answer["out"]
    return result(answer["code"], child.out[answer["begin"]:middle], child.out[middle:] + child.err)


# --- what gdb has open ----------------------------------------------------------------------------------------------------------

class LiveCore:
    """The ELF core of a live process, written by gdb's own gcore once for each stop."""

    folder: str | None = None
    path: str | None = None

    @classmethod
    def write(cls) -> str:
        if cls.path is None:
            if cls.folder is None:
                cls.folder = tempfile.mkdtemp(prefix="incident-gdb-")
                atexit.register(shutil.rmtree, cls.folder, True)
            path = os.path.join(cls.folder, "core")
            gdb.execute(f"gcore {path}", to_string=True)
            cls.path = path
        return cls.path

    @classmethod
    def forget(cls, _event: object = None) -> None:
        cls.path = None


def core_path() -> str:
    files = gdb.execute("info files", to_string=True)
    core = re.search(r"core dump file:\n\s*[`'\"‘](.*)['\"’], file type", files)
    if core:
        return core[1]
    if gdb.selected_inferior().pid:
        return LiveCore.write()
    raise gdb.GdbError("incident: no core is open: gdb EXE CORE")


def executable() -> list[str]:
    name = gdb.current_progspace().filename
    return [name] if name and os.access(name, os.R_OK) else []


def look() -> tuple[list[str], int | None]:
    """Colour as gdb's own styling, width as gdb's own, both only on a terminal."""
    if not sys.__stdout__ or not os.isatty(1):
        return ["--color", "never", "--progress", "never"], None
    styled = gdb.parameter("style enabled") and "NO_COLOR" not in os.environ
    return ["--color", "always" if styled else "never", "--progress", "never"], gdb.parameter("width")


def ask(verb: str, operands: list[str], options: list[str]) -> str:
    extra, columns = look()
    return ask_engine([verb, *operands, *options, *extra], columns)


# --- a parked goroutine as gdb's stack ------------------------------------------------------------------------------------------

class Goroutine:
    """One goroutine's frames, innermost first: pc, sp, cfa, rbp and name of each; inlined ones are not frames of their own."""

    def __init__(self, data: dict) -> None:
        self.id = data["id"]
        self.frames = [f for f in data["frames"] or [] if not f["inlined"] and f["sp"]]
        self.pc = [int(f["pc"], 16) for f in self.frames]
        self.sp = [int(f["sp"], 16) for f in self.frames]
        self.cfa = [int(f["cfa"], 16) if f["cfa"] else sp + 8 for f, sp in zip(self.frames, self.sp)]
        self.bp = [self._base(i) for i in range(len(self.frames))]

    def _base(self, index: int) -> int:
        """A Go frame saves its caller's rbp just below the return address, and rbp points there; a leaf keeps its caller's."""
        for sp, cfa in zip(self.sp[index:], self.cfa[index:]):
            if cfa - sp > 8:
                return cfa - 16
        return 0

    def at(self, pc: int, sp: int) -> int | None:
        for index, place in enumerate(zip(self.pc, self.sp)):
            if place == (pc, sp):
                return index
        return None


class FrameIdentity:
    def __init__(self, sp: gdb.Value, pc: gdb.Value) -> None:
        self.sp, self.pc = sp, pc


class GoroutineUnwinder(Unwinder):
    chosen: Goroutine | None = None
    thread: tuple[int, int, int] | None = None

    def __init__(self) -> None:
        super().__init__("incident-goroutine")

    def active(self) -> bool:
        thread = gdb.selected_thread()
        return self.chosen is not None and thread is not None and thread.ptid == self.thread

    def __call__(self, pending: gdb.PendingFrame) -> gdb.UnwindInfo | None:
        if not self.active():
            return None
        goroutine = self.chosen
        pc, sp = pending.read_register("rip"), pending.read_register("rsp")
        if pending.level() == 0:
            # Its identity lies below the goroutine's stack: gdb demands that callers lie above.
            return self._caller(pending, 0, goroutine.sp[0] - 16, int(pc))
        index = goroutine.at(int(pc), int(sp))
        if index is None or index + 1 >= len(goroutine.frames):
            return None
        if gdb.current_progspace().block_for_pc(int(pc) - 1) is not None:
            return None  # DWARF: gdb's own unwinder finds the same caller, and variables besides
        return self._caller(pending, index + 1, goroutine.cfa[index], int(pc))

    def _caller(self, pending: gdb.PendingFrame, index: int, identity: int, pc: int) -> gdb.UnwindInfo:
        types = {name: pending.read_register(name).type for name in ("rip", "rsp", "rbp")}
        info = pending.create_unwind_info(FrameIdentity(gdb.Value(identity).cast(types["rsp"]), gdb.Value(pc).cast(types["rip"])))
        values = {"rip": self.chosen.pc[index], "rsp": self.chosen.sp[index], "rbp": self.chosen.bp[index]}
        for name, value in values.items():
            info.add_saved_register(name, gdb.Value(value).cast(types[name]))
        return info


class NamedFrame(FrameDecorator):
    """The engine's name for a frame that gdb has no symbol for."""

    def __init__(self, base: object, name: str) -> None:
        super().__init__(base)
        self.name = name

    def function(self) -> object:
        own = super().function()
        return self.name if own is None or isinstance(own, int) else own


class HideFrameZero:
    """Frame 0 is a thread's, not the goroutine's; what lies beyond runtime.goexit is no frame."""

    name, priority, enabled = "incident-goroutine", 100, True

    def filter(self, frames: object) -> object:
        if not UNWINDER.active():
            return frames
        return self._goroutine(UNWINDER.chosen, iter(frames))

    @staticmethod
    def _goroutine(goroutine: Goroutine, frames: object) -> object:
        for decorated in frames:
            frame = decorated.inferior_frame()
            if frame.level() == 0:
                continue
            index = goroutine.at(frame.pc(), int(frame.read_register("rsp")))
            if index is None or frame.type() == gdb.INLINE_FRAME:
                yield decorated
                continue
            yield NamedFrame(decorated, goroutine.frames[index]["function"] or "??")
            if index + 1 == len(goroutine.frames):
                return


UNWINDER = GoroutineUnwinder()


def show_goroutine(goroutine: Goroutine | None) -> None:
    UNWINDER.chosen = goroutine
    thread = gdb.selected_thread()
    UNWINDER.thread = thread.ptid if thread else None
    gdb.invalidate_cached_frames()
    if goroutine is not None:
        gdb.newest_frame().older().select()


# --- commands -------------------------------------------------------------------------------------------------------------------

VERBS = {  # verb: (least and most operands, usage, help)
    "analyze": (0, 0, "[options]", "The report: what happened, where, why, and how to check it by hand."),
    "crash": (0, 0, "[options]", "Only what died and why: the fast answer."),
    "goroutines": (0, 0, "[--stacks] [--group] [--all]", "Every goroutine: id, status, what it waits for, where."),
    "threads": (0, 0, "[options]", "Every thread, with its stack."),
    "thread": (1, 1, "TID", "One thread: registers and frames, Go and C."),
    "locks": (0, 0, "[options]", "Every contended or held lock, its holders and waiters, the wait-for graph."),
    "heap": (0, 0, "[--retained] [--roots ADDR] [--object ADDR]", "The heap by type, and what keeps it alive."),
    "maps": (0, 0, "[--summary]", "The mappings, and where each one's bytes come from."),
    "locate": (1, 1, "ADDR", "What is this address? ADDR is a number or an expression of gdb: $rsp, &x."),
    "read": (1, 2, "ADDR [N]", "Annotated words, as x/16gx. ADDR is a number or an expression of gdb: $rsp, &x."),
    "explain": (0, 1, "KIND", "What a finding kind means, its proof rule, its innocent look-alikes."),
}


def split(argument: str, verb: str, least: int, most: int, usage: str) -> tuple[list[str], list[str]]:
    words = gdb.string_to_argv(argument)
    first = next((i for i, word in enumerate(words) if len(word) > 1 and word.startswith("-")), len(words))
    if not least <= first <= most:
        raise gdb.GdbError(f"incident: usage: incident {verb} {usage}")
    return words[:first], words[first:]


def address(word: str) -> str:
    """A number stays; anything else is gdb's to evaluate."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", word):
        return word
    return hex(int(gdb.parse_and_eval(word)) & (2**64 - 1))


class Verb(gdb.Command):
    def __init__(self, name: str) -> None:
        self.verb = name
        self.least, self.most, self.usage, text = VERBS[name]
        self.__doc__ = f"{text}\nUsage: incident {name} {self.usage}"
        super().__init__(f"incident {name}", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        operands, options = split(argument, self.verb, self.least, self.most, self.usage)
        if self.verb == "explain":
            gdb.write(run_engine([self.verb, *operands, *options]))
            return
        if self.verb in ("locate", "read"):
            operands[0] = address(operands[0])
        gdb.write(ask(self.verb, operands, options))


class GoroutineCommand(gdb.Command):
    """One goroutine: frames, slots, registers, defers, panics; then `bt`, `up`, `info locals` are the goroutine's.
Usage: incident goroutine ID [options]
       incident goroutine off
`off` gives the stack back to the thread."""

    def __init__(self) -> None:
        super().__init__("incident goroutine", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        operands, options = split(argument, "goroutine", 1, 1, "ID | off")
        if operands[0] == "off":
            show_goroutine(None)
            gdb.write("bt shows the thread's own stack again\n")
            return
        text = ask("goroutine", operands, options)
        data = json.loads(ask_engine(["goroutine", *operands, "--format", "json"]))
        gdb.write(text)
        goroutine = Goroutine(data["goroutines"][0]) if data["goroutines"] else None
        if not goroutine or not goroutine.frames:
            raise gdb.GdbError(f"incident: no frame of goroutine {operands[0]} is known: bt stays the thread's")
        show_goroutine(goroutine)
        gdb.write(f"\nbt, up and info locals show goroutine {goroutine.id} now, from frame 1 on; `incident goroutine off` goes back\n")


class Incident(gdb.Command):
    """What happened to this process? Analyses the core that gdb has open, Go and C alike, with the incident engine as a child process.
Begin with `incident analyze`. A live, stopped process is written to a core first, by gcore. Every subcommand takes the
options of the command of the same name (--all, --format json, ...).
Environment: INCIDENT names the executable, INCIDENT_TIMEOUT (seconds) and INCIDENT_MEMORY (MiB) limit it."""

    def __init__(self) -> None:
        super().__init__("incident", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE, True)


Incident()
GoroutineCommand()
for verb_name in VERBS:
    Verb(verb_name)
register_unwinder(None, UNWINDER, replace=True)
gdb.frame_filters[HideFrameZero.name] = HideFrameZero()
gdb.events.cont.connect(LiveCore.forget)
gdb.events.exited.connect(LiveCore.forget)
