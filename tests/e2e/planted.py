"""The bundled cores of corpora/{locks,heap,web,cgo,native}, each with its case.json: one planted fault, or its healthy twin."""
from __future__ import annotations

import dataclasses
import importlib.util
import json
import pathlib
import re

import pytest
import support

SPEC = importlib.util.spec_from_file_location("score", support.ROOT / "corpora" / "tools" / "score.py")
score = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(score)


@dataclasses.dataclass(frozen=True)
class Planted:
    folder: pathlib.Path  # …/heap-go1.27/dwarf.freed_slot
    case: dict

    @property
    def core(self) -> pathlib.Path:
        return self.folder / "core"

    @property
    def build(self) -> str:
        return self.folder.name.split(".", 1)[0]

    @property
    def exe(self) -> pathlib.Path:
        return self.folder.parent / f"exe.{self.build}"

    @property
    def mode(self) -> str:
        return self.case["mode"]

    def truth(self) -> score.Truth:
        return score.Truth(self.folder / "truth.txt")

    def objects(self) -> dict[str, dict[str, str]]:
        return support.Truth((self.folder / "truth.txt").read_text(errors="replace")).objects()

    def report(self, command: str, *words: object) -> dict:
        return support.report(command, self.core, *words, self.exe)

    def print(self, command: str, *words: object) -> str:
        return support.incident(command, self.core, *words, self.exe).out

    def analyze(self, *options: str) -> support.Run:
        return support.incident("analyze", self.core, self.exe, "--format", "json", *options)

    def judge(self, run: support.Run) -> list[str]:
        """Every fault and every holder of the case is found, and nothing else; the exit code says so. The score's remarks."""
        found, wanted, wrong, holders, holders_wanted, notes = score.judge(self.case, self.truth(), run.code, run.json)
        assert (found, wrong, holders) == (wanted, 0, holders_wanted), notes
        assert run.code == (1 if self.case["sick"] else 0) or self.case["how"] == ["throw"], run.code
        return notes

    def __str__(self) -> str:
        return f"{self.folder.parent.name}-{self.folder.name}"


def planted(program: str, bundles: str) -> list[Planted]:
    """The unpacked cores of a program in bundles of this name: planted("heap", "places-go1.*")."""
    cases = {c.parent.name: json.loads(c.read_text()) for c in (support.ROOT / "corpora" / program / "cases").glob("*/case.json")}
    found = []
    for core in sorted(support.CORPORA.glob(f"{bundles}/*.*/core")):
        mode = re.sub(r"-(gcore|quit)$", "", core.parent.name.split(".", 1)[1])
        if mode in cases:
            found.append(Planted(core.parent, cases[mode]))
    return found


def each(cores: list[Planted]) -> pytest.MarkDecorator:
    """Runs a test once for each; skips it where their bundle is not unpacked."""
    return pytest.mark.parametrize("core", cores or [pytest.param(None, marks=pytest.mark.skip(reason="the bundle is not unpacked"))], ids=str)


def of(cores: list[Planted], name: str) -> list[Planted]:
    """Those of one build and mode, "dwarf.cycle2"; skips the test where there are none."""
    return [c for c in cores if c.folder.name == name] or pytest.skip(f"no core {name} is unpacked")
