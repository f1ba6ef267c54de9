#!/usr/bin/env python3
"""How much of the live heap gets a type: runs `incident heap` on every core of the folders and prints a table.

    corpora/tools/heap_types.py build/incident [MODE,MODE...] FOLDER... > rows.md

A FOLDER holds go1.N/exe.BUILD and go1.N/BUILD.MODE/core. One row per version and build: the least, the median and the mean share
of live bytes that have a type. MODE limits the cores to these programs' modes.
"""
from __future__ import annotations

import collections
import json
import pathlib
import statistics
import subprocess
import sys


def main() -> int:
    incident, words = sys.argv[1], sys.argv[2:]
    modes = None if "/" in words[0] else set(words.pop(0).split(","))
    folders = [pathlib.Path(f) for f in words]
    shares: dict[tuple[int, str], list[tuple[float, str]]] = collections.defaultdict(list)
    for folder in folders:
        for core in sorted(folder.glob("go1.*/*.*/core")):
            build, mode = core.parent.name.split(".", 1)
            exe = core.parent.parent / f"exe.{build}"
            if not exe.exists() or (modes is not None and mode not in modes):
                continue
            run = subprocess.run([incident, "heap", core, exe, "--format", "json"], capture_output=True, text=True)
            try:
                totals = json.loads(run.stdout)["heap"]["totals"]
            except (ValueError, TypeError, KeyError):
                print(f"{core}: no heap ({run.returncode})", file=sys.stderr)
                continue
            minor = int(core.parent.parent.name.split(".")[1])
            shares[minor, build].append((totals["typed_live_bytes"] / max(totals["live_bytes"], 1), mode))
    print("| Go | build | cores | least | median | mean |")
    print("|---|---|---|---|---|---|")
    for (minor, build), values in sorted(shares.items()):
        numbers = [v for v, _ in values]
        least, mode = min(values)
        print(f"| 1.{minor} | {build} | {len(values)} | {least:.2%} ({mode}) | {statistics.median(numbers):.2%} | {statistics.mean(numbers):.2%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
