"""Damages real cores on purpose: words of the dead process are overwritten, and every command must still end by itself.

As a script: mutate.py CORE EXE SEEDS… runs each seed through every command, for use with a sanitizer build (INCIDENT_BIN).
"""
from __future__ import annotations

import itertools
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

from support import incident, report

COMMANDS = (["analyze"], ["crash"], ["goroutines", "--stacks"], ["goroutine", "1"], ["threads"], ["maps"], ["maps", "--summary"],
            ["locks"], ["heap"], ["heap", "--retained"], ["signature"])
QUESTIONS = (["locate"], ["read"], ["heap", "--object"], ["heap", "--roots"])  # of one address
ABSURD = (0, 1, 8, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 1 << 20, 1 << 32, 1 << 47, (1 << 47) - 8)


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


def loads(path: pathlib.Path) -> list[tuple[int, int, int]]:
    """(offset, size, address) of what the core holds."""
    with path.open("rb") as f:
        header = f.read(64)
        count = struct.unpack_from("<H", header, 56)[0]
        f.seek(struct.unpack_from("<Q", header, 32)[0])
        rows = [struct.unpack("<IIQQQQQQ", f.read(56)) for _ in range(count)]
    return [(offset, size, address) for kind, _, offset, address, _, size, _, _ in rows if kind == 1 and size]


class Target:
    """A core as its analyser sees it: pages by what they hold, so that few pages of the runtime's own weigh as much as many of the
    heap."""

    def __init__(self, core: pathlib.Path, exe: pathlib.Path) -> None:
        self.core, self.exe, self.loads = core, exe, loads(core)
        kinds = {int(row["begin"], 16): row["what"] for row in report("maps", core, exe)["maps"]}
        self.kinds: dict[str, list[int]] = {}
        for page in data_pages(core):
            address = self.address(page)
            if address is not None:
                begin = max((begin for begin in kinds if begin <= address), default=None)
                self.kinds.setdefault(kinds.get(begin) or "", []).append(page)

    def address(self, offset: int) -> int | None:
        return next((address + offset - at for at, size, address in self.loads if at <= offset < at + size), None)

    def damage(self, out: pathlib.Path, seed: int) -> list[int]:
        """Overwrites non-zero words: absurd sizes, cyclic, shifted and wild pointers, other words of the core. Where. Few of them:
        what is read first is sound, and what lies deeper is reached; or many."""
        subprocess.run(["cp", "--sparse=always", self.core, out], check=True)
        chance = random.Random(seed)
        words = (8, 40, 400)[seed % 3]
        places = sorted(self.kinds)
        taken, where = [0], []
        with out.open("r+b") as f:
            for _ in range(words * 20):
                at = chance.choice(self.kinds[chance.choice(places)]) + 8 * chance.randrange(512)
                f.seek(at)
                raw = f.read(8)
                if len(raw) < 8 or raw == bytes(8):
                    continue
                word, own = struct.unpack("<Q", raw)[0], self.address(at) or 0
                taken.append(word)
                new = chance.choice((chance.choice(ABSURD), word ^ (1 << chance.randrange(64)), word + 8, word - 8, word * 2, own,
                                     chance.choice(taken), chance.choice(taken), chance.getrandbits(64), chance.getrandbits(20),
                                     self.end(chance) - 8 * chance.randrange(1, 9)))
                f.seek(at)
                f.write(struct.pack("<Q", new & 0xFFFFFFFFFFFFFFFF))
                where.append(own)
                if len(where) == words:
                    break
        return where

    def end(self, chance: random.Random) -> int:
        """Where a mapping ends: what is read there must not read on."""
        _, size, address = chance.choice(self.loads)
        return address + size


def run_all(core: pathlib.Path, exe: pathlib.Path, where: list[int]) -> None:
    """Every command, now in one format and now in another."""
    chance = random.Random(len(where))
    asked = [[*question, hex(chance.choice(where))] for question in QUESTIONS]
    forms = itertools.cycle(("json", "terminal", "markdown", "html", "json", "terminal", "json"))
    for (name, *rest), form in zip([*COMMANDS, *asked], forms):
        before = [core, *rest] if name in ("goroutine", "locate", "read") else [core]
        after = [] if len(before) > 1 else rest
        run = incident(name, *before, exe, *after, "--format", form if name != "signature" or form != "html" else "json", timeout=60)
        assert run.code in (0, 1, 2, 3), (name, run.err[-500:])


def main() -> int:
    core, exe, *seeds = sys.argv[1:]
    target = Target(pathlib.Path(core), pathlib.Path(exe))
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            damaged = pathlib.Path(folder) / "core"
            run_all(damaged, target.exe, target.damage(damaged, int(seed)))
            print("seed", seed, "survived", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
