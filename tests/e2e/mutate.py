"""Damages real cores on purpose: words of the dead process are overwritten, and every command must still end by itself.

As a script: mutate.py CORE EXE SEEDS… runs each seed through every command, for use with a sanitizer build (INCIDENT_BIN).
"""
from __future__ import annotations

import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

from support import incident

COMMANDS = (["analyze"], ["crash"], ["goroutines", "--stacks"], ["goroutine", "1"], ["threads"], ["maps"], ["locate", "0xc000012345"])


def data_pages(path: pathlib.Path) -> list[int]:
    """Offsets of the pages of a sparse file that hold data."""
    pages = []
    with path.open("rb") as f:
        size, at = path.stat().st_size, 0
        while at < size:
            try:
                begin = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(f.fileno(), begin, os.SEEK_HOLE)
            pages += range(begin - begin % 4096, at, 4096)
    return pages


def damage(core: pathlib.Path, out: pathlib.Path, seed: int, words: int = 400) -> None:
    """Overwrites `words` non-zero words beyond the headers: absurd sizes, cyclic and wild pointers, other words of the core."""
    subprocess.run(["cp", "--sparse=always", core, out], check=True)
    chance = random.Random(seed)
    pages = data_pages(out)
    with out.open("r+b") as f:
        taken: list[int] = [0]
        for _ in range(words * 20):
            at = chance.choice(pages) + 8 * chance.randrange(512)
            if at < 4096:
                continue
            f.seek(at)
            raw = f.read(8)
            if len(raw) < 8 or raw == bytes(8):
                continue
            word = struct.unpack("<Q", raw)[0]
            taken.append(word)
            new = chance.choice((0, 1, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 1 << 47, word ^ (1 << chance.randrange(64)), word + 8,
                                 word - 8, chance.choice(taken), chance.getrandbits(64), chance.getrandbits(20)))
            f.seek(at)
            f.write(struct.pack("<Q", new & 0xFFFFFFFFFFFFFFFF))
            words -= 1
            if words == 0:
                return


def run_all(core: pathlib.Path, exe: pathlib.Path) -> None:
    for name, *rest in COMMANDS:
        for form in ("json", "terminal"):
            run = incident(name, core, *rest, exe, "--format", form, timeout=60)
            assert run.code in (0, 1, 2, 3), (name, run.err[-500:])


def main() -> int:
    core, exe, *seeds = sys.argv[1:]
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            damaged = pathlib.Path(folder) / "core"
            damage(pathlib.Path(core), damaged, int(seed))
            run_all(damaged, pathlib.Path(exe))
            print("seed", seed, "survived", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
