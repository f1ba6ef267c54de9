"""Runs the real command on bundled cores and reads the programs' own ground truth.

INCIDENT_BIN names the command (default build/incident), INCIDENT_CORPORA the unpacked bundles (default build/corpora);
INCIDENT_PATIENCE multiplies the time that a command gets (a sanitizer build needs 10).
"""
from __future__ import annotations

import atexit
import dataclasses
import functools
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("INCIDENT_BIN", ROOT / "build" / "incident"))
CORPORA = pathlib.Path(os.environ.get("INCIDENT_CORPORA", ROOT / "build" / "corpora"))
PATIENCE = float(os.environ.get("INCIDENT_PATIENCE", "1"))


@dataclasses.dataclass(frozen=True)
class Case:
    """One core of a probe bundle, with its executable and its truth."""

    version: str
    build: str
    mode: str

    @property
    def folder(self) -> pathlib.Path:
        return CORPORA / f"go{self.version}" / f"{self.build}.{self.mode}"

    @property
    def core(self) -> pathlib.Path:
        return self.folder / "core"

    @property
    def exe(self) -> pathlib.Path:
        return CORPORA / f"go{self.version}" / f"exe.{self.build}"

    @property
    def minor(self) -> int:
        return int(self.version.split(".")[1])

    def truth(self) -> "Truth":
        return Truth((self.folder / "truth.txt").read_text())

    def __str__(self) -> str:
        return f"go{self.version}-{self.build}-{self.mode}"


class Truth:
    """truth.txt: see corpora/README.md for the lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stacks = _block(text, "stacks")
        self.stderr = _block(text, "stderr")

    def lines(self, kind: str) -> list[str]:
        return [line for line in self.text.splitlines() if line.startswith(kind + " ")]

    def objects(self) -> dict[str, dict[str, str]]:
        return {(f := _fields(line))["name"]: f for line in self.lines("object")}

    def goroutines(self) -> dict[int, dict[str, str]]:
        return {int((f := _fields(line))["id"]): f for line in self.lines("goroutine") if "id=" in line}


def _block(text: str, name: str) -> str:
    found = re.search(rf"^{name}-begin[^\n]*\n(.*?)^{name}-end", text, re.S | re.M)
    return found[1] if found else ""


def _fields(line: str) -> dict[str, str]:
    return {k: v.strip('"') for k, v in re.findall(r'([\w-]+)=("[^"]*"|\S+)', line)}


@dataclasses.dataclass
class Run:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        found = json.loads(self.out)
        for finding in found.get("findings") or []:
            assert finding["strength"] in proof_of(finding["kind"]), f"incident explain {finding['kind']}: nothing is {finding['strength']}"
            facts = [json.dumps(e) for e in finding["evidence"]]
            assert len(set(facts)) == len(facts), f"{finding['kind']} says something twice: {facts}"
        return found


def incident(*arguments: object, timeout: float = 120, **environment: str) -> Run:
    """Runs the command; a death by signal is always a failure of ours."""
    done = subprocess.run([BIN, *map(str, arguments)], capture_output=True, timeout=timeout * PATIENCE,
                          env={**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, "NO_COLOR": "1", **environment})
    assert done.returncode >= 0, f"incident {arguments} died of signal {-done.returncode}: {done.stderr[-2000:]!r}"
    assert b"Sanitizer" not in done.stderr, done.stderr[-4000:].decode(errors="replace")
    return Run(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@functools.cache
def proof_of(kind: str) -> str:
    """The rule by which `incident explain` says that a kind is claimed."""
    text = incident("explain", kind).out
    return re.search(r"^  proof (.*?)\n\n", text, re.S | re.M)[1].lower()


def report(*arguments: object) -> dict:
    """The JSON report of one command."""
    run = incident(*arguments, "--format", "json")
    assert run.code in (0, 1, 3), run.err
    return run.json


def cases(*, mode: str | None = None, build: str | None = None) -> list[Case]:
    """Every unpacked probe core, by version; empty when nothing is unpacked."""
    found = []
    for folder in sorted(CORPORA.glob("go1.*/*.*"), key=lambda p: (int(p.parent.name[4:]), p.name)):
        name = re.fullmatch(r"([a-z]+)\.([\w-]+)", folder.name)
        if name and (folder / "core").exists() and mode in (None, name[2]) and build in (None, name[1]):
            found.append(Case(folder.parent.name[2:], name[1], name[2]))
    return found


GO = shutil.which("go")


def build_go(source: pathlib.Path, program: pathlib.Path, *flags: str, cgo: bool = False) -> pathlib.Path:
    """The program, made of one file by the machine's own Go, away from modules, networks and the environment's settings."""
    environment = os.environ | {"GO111MODULE": "off", "GOPROXY": "off", "CGO_ENABLED": "1" if cgo else "0", "GOTOOLCHAIN": "local"}
    subprocess.run([GO, "build", *flags, "-o", program, source], cwd=source.parent, env=environment, check=True, capture_output=True)
    return program


@functools.cache
def _built(name: str, flags: tuple[str, ...]) -> pathlib.Path:
    folder = tempfile.mkdtemp(prefix=f"incident-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build_go(pathlib.Path(__file__).with_name(f"{name}.go"), pathlib.Path(folder) / "program", *flags)


def bundled_core(name: str, how: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The core that corpora/tools/take_e2e.sh took of a test's own Go program, and its executable."""
    pack = CORPORA / "e2e-go1.26"
    core = pack / f"linked.{name}{'-' if how else ''}{how}" / "core"
    return (core, pack / "exe.linked") if core.exists() else pytest.skip("go is not installed, and there is no bundled core")


def go_core(name: str, how: str, folder: pathlib.Path, *flags: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A core of a test's own Go program NAME.go, run as `program HOW`, and its executable: made now, or bundled where Go is missing."""
    if GO is None:
        return bundled_core(name, how)
    program = _built(name, flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOTRACEBACK", "crash")
        return kernel_core(program, how, folder), program


def leaves_cores() -> bool:
    """Does the kernel write cores into the working directory here?"""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    return not pattern.startswith(("|", "/")) and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


def kernel_core(program: pathlib.Path, how: str, folder: pathlib.Path) -> pathlib.Path:
    """The kernel's own core: gdb would stop at the first signal, or at none, or know another."""
    run = subprocess.run(["sh", "-c", f'ulimit -S -c "$(ulimit -H -c)"; cd {folder}; exec {program} {how}'], check=False, capture_output=True, timeout=60)
    cores = [p for p in folder.iterdir() if p.name.startswith("core")]
    assert cores or run.returncode < 0 or not leaves_cores(), f"{program.name} {how} ended by itself with {run.returncode}: {run.stderr[-200:]!r}"
    return cores[0] if cores else pytest.skip(f"this machine leaves no cores in the working directory ({program.name} {how})")
