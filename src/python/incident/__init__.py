"""Reads core files of Go, C and C++ services: what happened, where, and why we believe it.

>>> import incident
>>> report = incident.analyze("core", "service")        # the report, as the command prints it
>>> report.findings[0].kind, report.findings[0].title
>>> process = incident.open("core", "service")           # for questions of your own
>>> [g.id for g in process.goroutines if g.wait_reason == "chan receive"]

Attributes bear the names of the JSON report. What is unknown is None, and None is not zero; an empty sequence says that there is
none. Addresses, sizes (bytes) and times (nanoseconds) are ints. Sequences are views: an element becomes a Python object when it is
asked for. The engine works without the GIL. What cannot be read at all raises `incident.Error`; what is only partly there stands
in `gaps`.
"""
from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

from . import _core
from ._core import Error, __version__
from ._core import (
    Actor, BlockedOn, CodeLine, CoreInput, Crash, Defer, DetectorOutcome, Evidence, Finding, Flags, Frame, FrameSnapshot, Gap,
    GoRuntime, Goroutine, Heap, HeapObject, HeapObjects, HeapType, Input, Libc, Location, Lock, LockHolder, LockState,
    LockWaiter, Mapping, Mark, MemoryAccount, MemoryUse, Module, Numbers32, Numbers64, Panic, Register, Report, Runtime, Signal, Slot, Subject,
    Thread, Tool, Truncated, Verify, WaitEdge, WaitGraph, Waited, Word,
)

__all__ = [
    "Actor", "BlockedOn", "CodeLine", "CoreInput", "Crash", "Defer", "DetectorOutcome", "Error", "Evidence", "Finding",
    "Flags", "Frame", "FrameSnapshot", "Gap", "GoRuntime", "Goroutine", "Heap", "HeapObject", "HeapObjects", "HeapType",
    "Input", "Libc", "Location", "Lock", "LockHolder", "LockState", "LockWaiter", "Mapping", "Mark", "MemoryAccount", "MemoryUse", "Module",
    "Numbers32", "Numbers64", "Panic", "Process", "Register", "Report", "Runtime", "Signal", "Slot", "Subject", "Thread", "Tool",
    "Truncated", "Verify", "WaitEdge", "WaitGraph", "Waited", "Word", "__version__", "analyze", "open",
]

Path = str | PathLike[str]


# The engine's sequences are Sequences: what they do not bring along comes from the abstract class.
for _view in [value for name, value in vars(_core).items() if name.endswith("Sequence")]:
    Sequence.register(_view)
    for _name in ("__contains__", "__reversed__", "index", "count"):
        setattr(_view, _name, getattr(Sequence, _name))


def _to_dict(self: _core.Report) -> dict[str, Any]:
    """The JSON report as Python's own dicts and lists: addresses are hex strings, as in the JSON."""
    result: dict[str, Any] = json.loads(self.to_json())
    return result


_core.Report.to_dict = _to_dict  # type: ignore[method-assign]
_core.Report._repr_html_ = lambda self: self.to_html()  # type: ignore[method-assign]


class Process:
    """One dead process. Each part is read when it is first asked for, and kept; what one question read serves the next."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = engine

    def report(self, *, only: Iterable[str] = (), skip: Iterable[str] = ()) -> _core.Report:
        """The full report, with findings; `only` and `skip` take finding kinds or prefixes ("go.mutex")."""
        return self._engine.ask("analyze", only=list(only), skip=list(skip))

    @functools.cached_property
    def _threads(self) -> _core.Report:
        return self._engine.ask("threads")

    @functools.cached_property
    def _goroutines(self) -> _core.Report:
        return self._engine.ask("goroutines", stacks=True)

    @functools.cached_property
    def _locks(self) -> _core.Report:
        return self._engine.ask("locks")

    @functools.cached_property
    def _crash(self) -> _core.Report:
        return self._engine.ask("crash")

    @property
    def input(self) -> _core.Input:
        """The core file, the executable and the modules, each with how sure we are of it."""
        return self._crash.input

    @property
    def runtime(self) -> _core.Runtime:
        return self._crash.runtime

    @property
    def crash(self) -> _core.Crash | None:
        """What died and why, without the heap or other goroutines."""
        return self._crash.crash

    @property
    def gaps(self) -> Sequence[_core.Gap]:
        """What is unknown about this process, and which conclusions that weakens."""
        return self._goroutines.gaps

    @property
    def threads(self) -> Sequence[_core.Thread]:
        return self._threads.threads or []

    @property
    def goroutines(self) -> Sequence[_core.Goroutine] | None:
        """All of them, with frames; None: no Go in this process, or its runtime could not be read (see `gaps`)."""
        return self._goroutines.goroutines

    @property
    def locks(self) -> Sequence[_core.Lock] | None:
        """Every lock that is waited for, or that a frame or a pending defer will release, with holders and waiters."""
        return self._locks.locks

    @functools.cached_property
    def held_locks(self) -> Sequence[_core.Lock] | None:
        """`locks`, and every other locked one in a package variable or on the Go heap; reads the heap, as `locks --held`."""
        return self._engine.ask("locks", held=True).locks

    @property
    def wait_graph(self) -> _core.WaitGraph | None:
        return self._locks.wait_graph

    @functools.cached_property
    def maps(self) -> Sequence[_core.Mapping]:
        return self._engine.ask("maps").maps or []

    @functools.cached_property
    def memory_account(self) -> _core.MemoryAccount:
        """What the core's bytes are: every byte of the file once, as `maps --summary` prints it."""
        account = self._engine.ask("maps", summary=True).memory
        assert account is not None  # the engine answers for every core
        return account

    @functools.cached_property
    def heap(self) -> _core.Heap | None:
        """The Go heap by type; takes seconds on a big one. None: no Go heap, or it could not be read."""
        return self._engine.ask("heap").heap

    @functools.cached_property
    def retained(self) -> _core.Heap | None:
        """The same with what each object alone keeps alive (`retainers`: `bytes` is the retained size)."""
        return self._engine.ask("heap", retained=True).heap

    @functools.cached_property
    def objects(self) -> _core.HeapObjects | None:
        """Every allocated object: columns for numpy and the like, or one by one. None: no Go heap, or it could not be read."""
        return self._engine.objects()

    def path_to(self, address: int) -> _core.Location | None:
        """Who keeps the object at `address` alive: the shortest path from a root, in Go's terms. None: no Go heap."""
        return self._engine.ask("heap", roots=address).location

    def object_at(self, address: int) -> _core.Location | None:
        """The object that holds `address`: its type, its fields and their values. None: no Go heap."""
        return self._engine.ask("heap", object=address).location

    def goroutine(self, id: int) -> _core.Goroutine:
        """One goroutine with its annotated frames (`snapshots`). KeyError: there is no such goroutine."""
        found = self._engine.ask("goroutine", argument=id).goroutines
        if not found:
            raise KeyError(id)
        return found[0]

    def thread(self, tid: int) -> _core.Thread:
        """KeyError: there is no such thread."""
        found = self._engine.ask("thread", argument=tid).threads
        if not found:
            raise KeyError(tid)
        return found[0]

    def locate(self, address: int) -> _core.Location:
        """What an address is: whose stack, which object and whether it is freed, which symbol."""
        location = self._engine.ask("locate", argument=address).location
        assert location is not None  # the engine answers for every address
        return location

    def read(self, address: int, count: int = 16) -> Sequence[_core.Word]:
        """`count` annotated 8-byte words; a word that is not there has the value None and says why."""
        return self._engine.ask("read", argument=address, words=count).words or []

    def memory(self, address: int, count: int) -> bytes:
        """`count` raw bytes. Error: not all of them are there."""
        return self._engine.memory(address, count)

    def __repr__(self) -> str:
        core = self.input.core
        return f"<incident.Process {core.program or core.path}, pid {core.pid}>"

    def _repr_html_(self) -> str:
        return self._crash.to_html()



def open(core: Path, exe: Path | None = None, *, sysroot: Path | Iterable[Path] = (), debug_dir: Path | Iterable[Path] = (),
         allow_mismatch: bool = False, debuginfod: bool = False, jobs: int = 0) -> Process:
    """Opens a core for questions. `exe` is found by build-id when it is left out; options as the command's. Error: not a core."""
    process = Process(_core.Engine(core, exe, sysroot=sysroot, debug_dir=debug_dir, allow_mismatch=allow_mismatch,
                                   debuginfod=debuginfod, jobs=jobs))
    process.crash  # a file that is no core is refused here, not at the first question
    return process


def analyze(core: Path, exe: Path | None = None, *, only: Iterable[str] = (), skip: Iterable[str] = (),
            sysroot: Path | Iterable[Path] = (), debug_dir: Path | Iterable[Path] = (), allow_mismatch: bool = False,
            debuginfod: bool = False, jobs: int = 0) -> _core.Report:
    """The report of `incident analyze`. `only`, `skip`: finding kinds or prefixes; options as the command's."""
    engine = _core.Engine(core, exe, sysroot=sysroot, debug_dir=debug_dir, allow_mismatch=allow_mismatch,
                          debuginfod=debuginfod, jobs=jobs)
    return engine.ask("analyze", only=list(only), skip=list(skip))
