#!/usr/bin/env python3
"""Three hundred cores through `incident triage`, killed half-way and resumed: is every one accounted for, and once?

    corpora/tools/triage_fleet.py build/incident build/corpora --big build/bench/big/core

200 bundled cores, 50 that are cut at any byte, 48 with damaged words, one that really needs more than its memory limit (the
core given by --big, read with --memory 64M), and one that really does not end: a zstd stream that unpacks to a
terabyte. Without --big the fifth kind is left out. Prints one line per kind and exits 1 when a core is lost, read twice, or
ends in another way than it must. tests/e2e/test_triage.py does the same with thirty cores and an analyser that misbehaves.
"""
from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

TERABYTE = 1 << 40


def endless(core: pathlib.Path, out: pathlib.Path) -> None:
    """The core, packed, and behind it a frame of zeros without end, in blocks that say "this byte, so many times"."""
    packed = subprocess.run(["zstd", "-q", "-1", "-c", core], check=True, capture_output=True).stdout
    largest = 128 << 10
    block = (largest << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    with out.open("wb") as f:
        f.write(packed)
        f.write(bytes.fromhex("28b52ffd") + b"\x00" + bytes([7 << 3]))  # no checksum, no size, a window of 128 KiB
        for _ in range(TERABYTE // largest // 4096):
            f.write(block * 4096)


def fleet(corpora: pathlib.Path, folder: pathlib.Path, big: pathlib.Path | None, rng: random.Random) -> dict[str, str]:
    """Name of each core -> its kind."""
    every = sorted(p for p in corpora.glob("*/*/core") if p.stat().st_size < 200 << 20)
    chosen = rng.sample(every, 200)
    kinds: dict[str, str] = {}
    for i, core in enumerate(chosen):
        name = f"core.svc{i}.1000.{'0' * 32}.{1000 + i}.{1753660800 + i}000000"
        (folder / name).symlink_to(core.resolve())
        kinds[name] = "whole"
    for i, core in enumerate(rng.sample(chosen, 50)):
        size = core.stat().st_size
        cut = rng.choice((rng.randrange(1, 4096), rng.randrange(4096, size), size - rng.randrange(1, 4096)))
        subprocess.run(["cp", "--sparse=always", core, folder / f"core.cut{i}"], check=True)
        os.truncate(folder / f"core.cut{i}", cut)
        kinds[f"core.cut{i}"] = "cut"
    for i, core in enumerate(rng.sample(chosen, 48)):
        name = folder / f"core.bad{i}"
        subprocess.run(["cp", "--sparse=always", core, name], check=True)
        with name.open("r+b") as f:
            for _ in range(200):
                # The headers and notes of half of them; memory of all.
                f.seek(rng.randrange(64, 16384) if i % 2 and rng.random() < 0.2 else rng.randrange(16384, core.stat().st_size - 8))
                f.write(rng.choice((b"\xff" * 8, b"\0" * 8, rng.randbytes(8))))
        kinds[name.name] = "damaged"
    endless(chosen[0], folder / "core.endless.zst")
    kinds["core.endless.zst"] = "hangs"
    if big is not None:
        (folder / "core.big").symlink_to(big.resolve())
        kinds["core.big"] = "eats memory"
    return kinds


def lines(store: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in store.read_text().splitlines() if line.endswith("}")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("incident", type=pathlib.Path)
    parser.add_argument("corpora", type=pathlib.Path)
    parser.add_argument("--big", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", default="40s")
    parser.add_argument("--keep", type=pathlib.Path, help="where the store stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet") as temporary:
        folder, store = pathlib.Path(temporary) / "cores", pathlib.Path(temporary) / "store.ndjson"
        folder.mkdir()
        kinds = fleet(options.corpora, folder, options.big, random.Random(options.seed))
        command = [options.incident, "triage", folder, "--store", store, "--jobs", "2", "--timeout", options.timeout, "--memory", "64M",
                   "--max-spool", "100T", "--format", "json"]
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while first.poll() is None and (not store.exists() or store.read_bytes().count(b"\n") < len(kinds) // 2):
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = {(r["digest"], r["path"]) for r in lines(store)}
        begun = time.monotonic()
        second = subprocess.run([*command, "--resume"], capture_output=True)
        seconds = time.monotonic() - begun
        rows = lines(store)
        if options.keep:
            options.keep.write_bytes(store.read_bytes())
    summary = json.loads(second.stdout)
    keys = [(r["digest"], r["path"]) for r in rows]
    names = collections.Counter(pathlib.Path(r["path"]).name for r in rows)
    print(f"{len(kinds)} cores; killed after {len(before)}, resumed: {len(rows)} rows, {len(set(keys))} different, exit code {second.returncode}, "
          f"{seconds:.0f} s, load {os.getloadavg()[0]:.0f}")
    outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in rows:
        outcomes[kinds[pathlib.Path(row["path"]).name]][row["outcome"] + (" (copy)" if row["copy_of"] else "")] += 1
    for kind, counts in outcomes.items():
        print(f"  {kind}: " + ", ".join(f"{n} {what}" for what, n in counts.most_common()))
    wrong = []
    if set(names) != set(kinds):
        wrong.append(f"lost: {sorted(set(kinds) - set(names))}")
    if len(keys) != len(set(keys)) or max(names.values()) > 1:
        wrong.append(f"twice: {[n for n, c in names.items() if c > 1]}")
    if summary["totals"]["known_before"] != len(before) or summary["totals"]["cores"] != len(kinds):
        wrong.append(f"the summary counts otherwise: {summary['totals']}")
    if outcomes["whole"]["analysed"] + outcomes["whole"]["analysed (copy)"] != 200:
        wrong.append("a whole core was not analysed")
    if set(outcomes["hangs"]) != {"out-of-time"} or (options.big and set(outcomes["eats memory"]) != {"out-of-memory"}):
        wrong.append("the limits did not end what they must")
    wrong += [f"its reader died: {r['path']} {r['reason']}" for r in rows if r["outcome"] in ("died", "failed")]
    for line in wrong:
        print(f"WRONG {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
