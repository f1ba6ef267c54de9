#!/usr/bin/env python3
"""How much of the live heap gets a type: runs `incident heap` on every core of the folders and prints a table.

    corpora/tools/heap_types.py build/incident [MODE,MODE...] FOLDER... > rows.md 2> below.txt

A FOLDER holds go1.N/exe.BUILD and go1.N/BUILD.MODE/core. One row per version and build: the least, the median and the mean share
of live bytes that have a type, and in how many cores it is below 99 %. MODE limits the cores to these programs' modes. To stderr:
each core with debug information below 99 %, and what its untyped bytes are.
"""
from __future__ import annotations

import collections
import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys

ENOUGH = 0.99


def heap_of(incident: str, core: pathlib.Path, exe: pathlib.Path) -> dict | None:
    run = subprocess.run([incident, "heap", core, exe, "--format", "json", "--jobs", "1"], capture_output=True, text=True)
    try:
        return json.loads(run.stdout)["heap"]
    except (ValueError, TypeError, KeyError):
        print(f"{core}: no heap ({run.returncode})", file=sys.stderr)
        return None


def main() -> int:
    incident, words = sys.argv[1], sys.argv[2:]
    modes = None if "/" in words[0] else set(words.pop(0).split(","))
    shares: dict[tuple[int, str], list[tuple[float, str]]] = collections.defaultdict(list)
    cores = []
    for core in sorted(c for folder in words for c in pathlib.Path(folder).glob("go1.*/*.*/core")):
        build, mode = core.parent.name.split(".", 1)
        exe = core.parent.parent / f"exe.{build}"
        if exe.exists() and (modes is None or mode in modes):
            cores.append((core, exe, build, mode))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        heaps = pool.map(lambda c: heap_of(incident, c[0], c[1]), cores)
        for (core, _, build, mode), heap in zip(cores, heaps):
            if heap is None or heap["totals"]["live_bytes"] == 0:
                continue
            totals = heap["totals"]
            share = totals["typed_live_bytes"] / totals["live_bytes"]
            shares[int(core.parent.parent.name.split(".")[1]), build].append((share, mode))
            if share < ENOUGH and build != "stripped":
                untyped = sorted((t for t in heap["types"] if t["name"].startswith("?") and t["live"]), key=lambda t: -t["live"])
                what = ", ".join(f"{t['live']} B in {t['count']} {t['name']}" for t in untyped[:3])
                print(f"{core.parent}: {share:.2%} of {totals['live_bytes']} B: {what}", file=sys.stderr)
    print("| Go | build | cores | least | median | mean | below 99 % |")
    print("|---|---|---|---|---|---|---|")
    for (minor, build), values in sorted(shares.items()):
        numbers = [v for v, _ in values]
        least, mode = min(values)
        row = [f"1.{minor}", build, len(values), f"{least:.2%} ({mode})", f"{statistics.median(numbers):.2%}",
               f"{statistics.mean(numbers):.2%}", sum(v < ENOUGH for v in numbers)]
        print("| " + " | ".join(map(str, row)) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
