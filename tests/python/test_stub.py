"""_core.pyi says what the module is: the same names, and every value has the type that it promises. mypy --strict passes."""
from __future__ import annotations

import ast
import collections.abc
import pathlib
import subprocess
import sys
import types
import typing
from typing import Any

import pytest
import support

import incident
from incident import _core

STUB = pathlib.Path(incident.__file__).resolve().parent / "_core.pyi"


def stubbed() -> dict[str, dict[str, str]]:
    """Class → property → annotation, as written."""
    classes = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ClassDef):
            classes[node.name] = {f.name: ast.unparse(f.returns) for f in node.body
                                  if isinstance(f, ast.FunctionDef) and f.decorator_list and f.returns}
    return classes


def properties(cls: type) -> set[str]:
    return {name for name, value in vars(cls).items() if isinstance(value, property) and type(value) is property}


def test_stub_and_module_have_the_same_names():
    ours = {name: cls for name, cls in vars(_core).items() if isinstance(cls, type) and not name.endswith("Sequence")}
    stub = stubbed()
    assert set(stub) == set(ours)
    for name, members in stub.items():
        assert set(members) == properties(ours[name]), name
    assert set(incident.__all__) >= set(ours) - {"Engine"}


def conforms(value: Any, annotation: str) -> bool:
    if annotation == "None":
        return value is None
    if " | " in annotation:
        return any(conforms(value, part) for part in annotation.split(" | "))
    if annotation.startswith(("Sequence[", "list[")):
        outer, inner = annotation[:-1].split("[", 1)
        wanted = collections.abc.Sequence if outer == "Sequence" else list
        return isinstance(value, wanted) and all(conforms(item, inner) for item in value[:50])
    if annotation.startswith("dict["):
        key, inner = annotation[5:-1].split(", ")
        return isinstance(value, dict) and all(conforms(k, key) and conforms(v, inner) for k, v in value.items())
    if annotation in ("int", "bool", "str"):
        return type(value).__name__ == annotation
    return type(value).__name__ == annotation


def walk(value: Any, stub: dict[str, dict[str, str]], seen: set[tuple[str, str]]) -> None:
    name = type(value).__name__
    if name in stub:
        for member, annotation in stub[name].items():
            got = getattr(value, member)
            assert conforms(got, annotation), f"{name}.{member} is {got!r}, not {annotation}"
            seen.add((name, member))
            walk(got, stub, seen)
    elif isinstance(value, collections.abc.Sequence) and not isinstance(value, (str, bytes)):
        for item in value[:50]:
            walk(item, stub, seen)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Walks reports of several kinds of core; every public name is read somewhere."""
    probes = [support.cases(mode=mode, build=build)[-1]
              for mode, build in (("waits", "dwarf"), ("nilderef", "stripped"), ("panicnested", "dwarf"), ("csegv", "cgo"))]
    cores: list[tuple[pathlib.Path, pathlib.Path | None]] = [(case.core, case.exe) for case in probes]
    locks = sorted(support.CORPORA.glob("locks-go*"))[-1]
    cores += [(locks / f"dwarf.{mode}" / "core", locks / "exe.dwarf") for mode in ("cycle2", "holder_defer", "holder_syscall")]
    cut = tmp_path_factory.mktemp("cut") / "core"
    cut.write_bytes(probes[0].core.read_bytes()[: 3 << 20])
    cores.append((cut, None))
    seen: set[tuple[str, str]] = set()
    stub = stubbed()
    for core, exe in cores:
        process = incident.open(core, exe)
        some = process.goroutine(process.goroutines[0].id) if process.goroutines else None
        for part in (process.report(), some, process.locate(1), process.read(process.threads[0].frames[0].sp or 0),
                     process.locks, process.wait_graph, process.maps, process.memory_account, process.heap, process.retained, process.objects,
                     process.objects[0] if process.objects else None):
            walk(part, stub, seen)
    return seen


def test_every_value_has_the_type_the_stub_promises(seen):
    assert len(seen) > 150


def test_every_public_name_was_looked_at(seen):
    missing = {(c, m) for c, members in stubbed().items() for m in members} - seen
    assert missing == set()


def test_mypy_strict():
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", str(STUB.parent)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def test_docstrings():
    public = [getattr(incident, name) for name in incident.__all__ if name != "__version__"]
    assert [p for p in public if not p.__doc__] == []
    assert [n for n, f in vars(incident.Process).items() if isinstance(f, types.FunctionType) and not n.startswith("_") and not f.__doc__] == []
    assert typing.get_type_hints(incident.Process.locate)
