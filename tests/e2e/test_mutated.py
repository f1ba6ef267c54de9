"""Cores whose memory lies. More seeds, under a sanitizer: mutate.py."""
import pathlib
import struct
import subprocess

import pytest
from mutate import Target, run_all
from support import CORPORA, cases, incident

# Of each kind of bundle some that fill what is read: lists, trees, maps, queues.
BUNDLED = ("heap-go1.27/dwarf.graph", "heap-go1.16/dwarf.map_shapes", "heap-go1.24/dwarf.server", "heap-go1.22/stripped.pool_right",
           "locks-go1.27/dwarf.cycle3", "locks-go1.16/stripped.rw_slow_reader", "locks-go1.22/dwarf.cycle_chan",
           "cgo-go1.27/dwarf.cycle_mixed", "cgo-go1.16/stripped.outlived_heap", "native-glibc-2.36/O2.overrun_hold",
           "native-glibc-2.36/O0.pt_cycle3", "native-glibc-2.36/static.malloc_threads", "native-glibc-2.36/xxO2.umap_iter")


def pool() -> list[tuple[pathlib.Path, pathlib.Path]]:
    probes = cases(mode="waits", build="dwarf") + cases(mode="csegv") + cases(mode="panicnested") + cases(mode="heap", build="stripped")
    rest = [CORPORA / name for name in BUNDLED]
    return [(case.core, case.exe) for case in probes] + [(f / "core", f.parent / ("exe." + f.name.split(".")[0])) for f in rest]


@pytest.mark.parametrize("seed", range(18))
def test_damaged_memory(seed: int, tmp_path: pathlib.Path) -> None:
    cores = pool()
    target = Target(*cores[-1 - seed if seed < len(BUNDLED) else seed * 7 % len(cores)])
    damaged = tmp_path / "core"
    run_all(damaged, target.exe, target.damage(damaged, seed))


@pytest.mark.parametrize("name", ("cgo-go1.27/stripped.chain_mixed", "native-glibc-2.36/O2.overrun_hold"))
@pytest.mark.parametrize("field, lie", ((40, 1 << 46), (16, (1 << 64) - 4096)), ids=("p_memsz", "p_vaddr"))
def test_damaged_program_header(name: str, field: int, lie: int, tmp_path: pathlib.Path) -> None:
    """A segment holds all that lies above it, or lies in the last page: who goes through it word by word must come to an end."""
    folder, damaged = CORPORA / name, tmp_path / "core"
    subprocess.run(["cp", "--sparse=always", folder / "core", damaged], check=True)
    with damaged.open("r+b") as f:
        at, = struct.unpack_from("<Q", f.read(64), 32)
        while True:
            f.seek(at)
            kind, flags, _, address, _, held, _, _ = struct.unpack("<IIQQQQQQ", f.read(56))
            if kind == 1 and flags == 6 and held > 0xC000 and address >= 1 << 46:
                break
            at += 56
        f.seek(at + field)
        f.write(struct.pack("<Q", lie))
    for command in (["analyze"], ["maps", "--summary"]):
        run = incident(command[0], damaged, folder.parent / ("exe." + folder.name.split(".")[0]), *command[1:], timeout=20)
        assert run.code in (0, 1, 3), run.err
