"""Words planted into healthy bundled cores: a map of a few cells, headers in the cells of maps and locks, looked at wherever a type says what they are."""
import pathlib
import re
import struct
import subprocess
import types
import typing

import planted
import pytest
import support

VERSIONS = sorted((p.name.removeprefix("go") for p in support.CORPORA.glob("go1.*") if (p / "dwarf.heap" / "core").exists()), key=lambda v: int(v.split(".")[1]))
pytestmark = pytest.mark.skipif(not VERSIONS, reason="no probe bundle is unpacked")
SWISS = 24  # the first Go with Swiss maps


class Patched:
    """A copy of a core whose words can be read and overwritten by address."""

    def __init__(self, case: support.Case | types.SimpleNamespace, folder: pathlib.Path) -> None:
        self.path = folder / "core"
        subprocess.run(["cp", "--sparse=always", case.core, self.path], check=True)
        self.path.chmod(0o644)
        raw = self.path.open("rb").read(4096 * 16)
        (at,), (count,) = struct.unpack_from("<Q", raw, 32), struct.unpack_from("<H", raw, 56)
        heads = [struct.unpack_from("<IIQQQQQQ", raw, at + 56 * i) for i in range(count)]
        self.segments = [(h[3], h[5], h[2]) for h in heads if h[0] == 1]  # address, bytes, offset

    def offset(self, address: int) -> int:
        return next(off + address - begin for begin, size, off in self.segments if begin <= address < begin + size)

    def read(self, address: int, size: int) -> bytes:
        with self.path.open("rb") as f:
            f.seek(self.offset(address))
            return f.read(size)

    def word(self, address: int) -> int:
        return int(struct.unpack("<Q", self.read(address, 8))[0])

    def write(self, address: int, data: bytes) -> None:
        with self.path.open("r+b") as f:
            f.seek(self.offset(address))
            f.write(data)


def full_cells(core: Patched, unit: int, minor: int) -> list[int]:
    control = core.read(unit, 8)
    return [i for i in range(8) if (control[i] < 0x80 if minor >= SWISS else control[i] >= 5)]


def value_of(core: Patched, header: int, minor: int, key: int, value: int) -> int:
    """Where the value of the first cell in use of a small map lies: keys and values of so many bytes."""
    unit = core.word(header + 16)
    cell = full_cells(core, unit, minor)[0]
    return unit + 8 + cell * (key + value) + key if minor >= SWISS else unit + 8 + 8 * key + cell * value


def alarms(core: Patched, case: support.Case) -> list[dict[str, typing.Any]]:
    run = support.incident("analyze", core.path, case.exe, "--format", "json")
    assert run.code == 1
    return [f for f in run.json["findings"] if f["severity"] in ("error", "warning") and not f["kind"].startswith("crash.")]


@pytest.mark.parametrize("name", ["roots.mapEight", "roots.mapFloat", "roots.mapToAny", "staticMap"])
@pytest.mark.parametrize("damage", ["count", "control"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_map_of_a_few_cells_is_checked_where_a_type_names_it(version: str, damage: str, name: str, tmp_path: pathlib.Path) -> None:
    case = support.Case(version, "dwarf", "heap")
    header = int(case.truth().objects()[name]["addr"], 16)
    core = Patched(case, tmp_path)
    if damage == "count":
        core.write(header, struct.pack("<Q", core.word(header) + 3))
    else:
        core.write(core.word(header + 16), b"\xff" if case.minor >= SWISS else b"\x03")  # no such state; moved, but nothing grows
    (found,) = alarms(core, case)
    assert (found["kind"], int(found["subject"]["address"], 16)) == ("go.map.corrupt", header)
    assert found["subject"]["type"].startswith("map[") and "or a type like it" not in found["where"]


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_in_cells_in_use_are_checked(version: str, tmp_path: pathlib.Path) -> None:
    case = support.Case(version, "dwarf", "heap")
    objects = case.truth().objects()
    core = Patched(case, tmp_path)
    text = value_of(core, int(objects["roots.mapEight"]["addr"], 16), case.minor, 8, 16)  # map[int]string
    core.write(text + 8, struct.pack("<Q", 1 << 20))
    boxed = value_of(core, int(objects["roots.mapToAny"]["addr"], 16), case.minor, 16, 16)  # map[string]interface {}
    core.write(boxed, struct.pack("<Q", 0x4141414141414141))
    found = alarms(core, case)
    assert sorted(f["kind"] for f in found) == ["go.interface.bad", "go.string.bad"]
    for finding, at in ((next(f for f in found if f["kind"] == "go.string.bad"), text), (next(f for f in found if f["kind"] == "go.interface.bad"), boxed)):
        assert at in [int(e["address"], 16) for e in finding["evidence"] if e["address"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_deleted_cells_still_hold_is_nobodys(version: str, tmp_path: pathlib.Path) -> None:
    case = support.Case(version, "dwarf", "heap")
    header = int(case.truth().objects()["roots.mapEight"]["addr"], 16)
    core = Patched(case, tmp_path)
    unit = core.word(header + 16)
    last = full_cells(core, unit, case.minor)[-1]
    text = unit + 8 + last * 24 + 8 if case.minor >= SWISS else unit + 8 + 64 + last * 16
    core.write(text + 8, struct.pack("<Q", 1 << 20))
    core.write(unit + last, b"\x80" if case.minor >= SWISS else b"\x00")  # deleted: empty, and nothing behind it
    core.write(header, struct.pack("<Q", core.word(header) - 1))
    run = support.incident("analyze", core.path, case.exe, "--format", "json")
    assert [f["kind"] for f in run.json["findings"] if not f["kind"].startswith("crash.")] == []


@pytest.mark.parametrize("version", [v for v in VERSIONS if int(v.split(".")[1]) >= 19])
def test_an_atomic_value_in_its_first_store_is_no_impossible_interface(version: str, tmp_path: pathlib.Path) -> None:
    """Its type word then names sync/atomic.firstStoreInProgress, one byte; the same word in another interface is none of a healthy program."""
    case = support.Case(version, "dwarf", "heap")
    objects = case.truth().objects()
    core = Patched(case, tmp_path)
    mark = next(int(line.split()[0], 16) for line in subprocess.run(["nm", case.exe], capture_output=True, text=True, check=True).stdout.splitlines() if line.endswith(" sync/atomic.firstStoreInProgress"))
    core.write(int(objects["roots.atomicV"]["addr"], 16), struct.pack("<Q", mark))
    run = support.incident("analyze", core.path, case.exe, "--format", "json")
    assert [f["kind"] for f in run.json["findings"] if not f["kind"].startswith("crash.")] == []
    core.write(value_of(core, int(objects["roots.mapToAny"]["addr"], 16), case.minor, 16, 16), struct.pack("<Q", mark))
    assert [f["kind"] for f in alarms(core, case)] == ["go.interface.bad"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_map_that_is_being_written_to_is_left_alone(version: str, tmp_path: pathlib.Path) -> None:
    case = support.Case(version, "dwarf", "heap")
    header = int(case.truth().objects()["roots.mapEight"]["addr"], 16)
    core = Patched(case, tmp_path)
    core.write(header, struct.pack("<Q", core.word(header) + 1))
    flag = (34, b"\x01") if case.minor >= SWISS else (8, bytes([core.read(header + 8, 1)[0] | 4]))
    core.write(header + flag[0], flag[1])
    run = support.incident("analyze", core.path, case.exe, "--format", "json")
    assert [f["kind"] for f in run.json["findings"] if not f["kind"].startswith("crash.")] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_held_lock_that_nobody_waits_for_is_listed_by_its_type(version: str, tmp_path: pathlib.Path) -> None:
    case = support.Case(version, "dwarf", "waits")
    lock = int(case.truth().objects()["cond"]["L"], 16)
    core = Patched(case, tmp_path)

    def rows(*command: str) -> tuple[list[dict[str, typing.Any]], list[str]]:
        report = support.incident(command[0], core.path, case.exe, *command[1:], "--format", "json").json
        return [row for row in report["locks"] if int(row["address"], 16) == lock], [gap["why"] for gap in report["gaps"]]

    assert rows("analyze")[0] == [] and rows("locks", "--held")[0] == []
    core.write(lock, b"\x01")
    for command in (("analyze",), ("locks", "--held")):
        (row,), gaps = rows(*command)
        assert row["type"] == "sync.Mutex" and row["state"]["locked"] and not row["waiters"] and not row["holders"]
        assert row["where"] == "(*main.counter).mu"
        assert not any("locks --held" in why for why in gaps)
    found, gaps = rows("locks")  # a quick question does not pay for the heap, and says so
    assert found == [] and any("locks --held" in why for why in gaps)


STRIPPED = sorted(support.CORPORA.glob("locks-go1.*/stripped.holder_global_plain/core"))


@pytest.mark.skipif(not STRIPPED, reason="no locks bundle is unpacked")
@pytest.mark.parametrize("held", STRIPPED, ids=[c.parents[1].name for c in STRIPPED])
def test_without_debug_information_code_tells_which_package_variables_are_locks(held: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The address is that of another core of the same executable, where somebody waits for the lock."""
    lock = int(support.Truth((held.parent / "truth.txt").read_text()).objects()["stockMu"]["addr"], 16)
    exe = held.parents[1] / "exe.stripped"
    core = Patched(types.SimpleNamespace(core=held.parents[1] / "stripped.bad_unlock" / "core"), tmp_path)

    def rows() -> list[dict[str, typing.Any]]:
        report = support.incident("locks", core.path, exe, "--held", "--format", "json").json
        return [row for row in report["locks"] if int(row["address"], 16) == lock]

    assert rows() == []
    core.write(lock, b"\x01")
    (row,) = rows()
    assert row["type"] == "sync.Mutex" and row["state"]["locked"] and not row["waiters"]


SERVERS = sorted(support.CORPORA.glob("heap-go1.*/dwarf.server/core"))


@pytest.mark.skipif(not SERVERS, reason="no heap bundle is unpacked")
@pytest.mark.parametrize("core", SERVERS, ids=[c.parents[1].name for c in SERVERS])
def test_what_assembly_left_in_registers_and_results_keeps_nothing_alive(core: pathlib.Path) -> None:
    """Up to Go 1.18 the last of `server` is RawSyscall, whose unset result and r10 still hold the address of a dead buffer."""
    totals = support.report("heap", core, core.parents[1] / "exe.dwarf")["heap"]["totals"]
    assert totals["typed_live_bytes"] >= 0.99 * totals["live_bytes"]


@pytest.mark.parametrize("command", ["gcore", "kernel"])
def test_what_gcore_left_out_is_no_fault(command: str, tmp_path: pathlib.Path) -> None:
    """A slice whose data lies in no mapping: a fault in the kernel's core, a remark in gcore's, which leaves mappings out."""
    for case in planted.of(planted.planted("heap", "heap-go1.*"), "dwarf.slice_len" + ("-gcore" if command == "gcore" else "")):
        frame = int(case.objects()["theFrame"]["addr"], 16)
        (tmp_path / case.folder.parent.name).mkdir()
        core = Patched(case, tmp_path / case.folder.parent.name)
        core.write(frame + 24, struct.pack("<QQQ", 0x2345000000, 16, 256))  # behind the magic and the name
        found, = (f for f in support.incident("analyze", core.path, case.exe, "--format", "json").json["findings"] if f["kind"] == "go.slice.bad")
        remark = any("gcore leaves out some mappings" in why for why in found["innocent"])
        assert remark == (command == "gcore") == (found["severity"] == "info") == (found["strength"] == "possible"), found


def layout_offset(version: str, struct_name: str, field: str) -> int:
    table = support.ROOT / "src/go/binary/layouts" / f"go{version.replace('.', '_')}.inc"
    return int(re.search(rf"^LAYOUT_FIELD\({struct_name}, {field}, (\d+)\)", table.read_text(), re.M)[1])


@planted.each([c for c in planted.planted("heap", "heap-go1.*") if c.mode == "leak_recv" and "gcore" not in c.folder.name and c.build == "dwarf"])
@pytest.mark.parametrize("how", ["closed", "param"])
def test_who_is_just_being_woken_is_not_blocked_for_ever(core: planted.Planted, how: str, tmp_path: pathlib.Path) -> None:
    """close() has emptied the queue and wakes the waiters one by one; a sender has taken one out, and not yet made it runnable."""
    version = core.folder.parent.name.removeprefix("heap-go")
    leaks = [f for f in core.analyze("--only", "go.goroutine").json["findings"] if f["severity"] == "warning"]
    patched = Patched(types.SimpleNamespace(core=core.core), tmp_path)
    channels = {int(e["address"], 16) for f in leaks for e in f["evidence"] if " waits for " in e["what"]}
    assert len(channels) == 3
    for leak in leaks:
        own = {e["address"] for e in leak["evidence"] if " waits for " in e["what"]}
        assert ("a channel" if len(own) == 1 else f"{len(own)} channels") in leak["title"]
    for channel in channels:
        if how == "closed":
            patched.write(channel + layout_offset(version, "hchan", "closed"), b"\x01")
        else:
            waiter = patched.word(channel + layout_offset(version, "hchan", "recvq_first"))
            patched.write(patched.word(waiter) + layout_offset(version, "g", "param"), struct.pack("<Q", waiter))
    run = support.incident("analyze", patched.path, core.exe, "--only", "go.goroutine", "--format", "json")
    assert [f["kind"] for f in run.json["findings"] if f["severity"] != "info"] == []
