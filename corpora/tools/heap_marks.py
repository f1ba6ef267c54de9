#!/usr/bin/env python3
"""Our marks beside the collector's own, object by object; and beside viewcore's objects.

    corpora/tools/heap_marks.py build/corpora/tools/heap/heap_check FOLDER... > rows.md 2> differences.txt
    corpora/tools/heap_marks.py HEAP_CHECK --viewcore VIEWCORE FOLDER... > rows.md 2> differences.txt

A FOLDER holds go1.N/exe.BUILD and go1.N/BUILD.MODE/core. One row per version. The first form compares with the bits that the last
collection of the process left in its spans (`marked`, `held`, `new`: see heap_check.cpp), the second with what `viewcore objects`
lists, on cores with DWARF that it can read. Each core with a difference goes to stderr, with its objects by size.
"""
from __future__ import annotations

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys


def lines(command: list[object], seconds: float = 120) -> list[str]:
    try:
        return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=seconds).stdout.splitlines()
    except subprocess.TimeoutExpired:
        return []


def beside_collector(check: str, core: pathlib.Path, exe: pathlib.Path) -> collections.Counter[str] | None:
    out = lines([check, "-v", core, exe, 1])
    counts = next((line for line in out if re.match(r"go1\.\d+", line)), None)
    if counts is None:
        return None
    row = collections.Counter({k: int(v) for k, v in re.findall(r" ([a-z-]+)=(\d+)(?= |$)", counts)})
    row.update({f"cores with {kind}": int(row[kind] > 0) for kind in ("lost", "held", "retained-wrong")})
    found = [m.groups() for m in (re.match(r"  (lost|held) 0x\w+ size (\d+) is (.*?) class ", line) for line in out) if m]
    if found:
        print(f"{core.parent}: " + ", ".join(f"{what}: {kind}, {size} B" for what, size, kind in found), file=sys.stderr)
    row.update(f"{what}: {kind}" for what, _, kind in found)
    return row


def beside_viewcore(check: str, viewcore: str, core: pathlib.Path, exe: pathlib.Path) -> collections.Counter[str] | None:
    theirs = {int(m[1], 16) for m in (re.match(r" *([0-9a-f]+) \S", line) for line in lines([viewcore, core, "--exe", exe, "objects"])) if m}
    if not theirs:
        print(f"{core.parent}: viewcore lists nothing", file=sys.stderr)
        return None
    ours = {}
    for line in lines([check, "-l", core, exe, 1]):
        if m := re.match(r"object (\w+) size (\d+) (\w+)(?: root (.*))?", line):
            ours[int(m[1], 16)] = (m[3], int(m[2]), m[4])
    row = collections.Counter({"ours": len(ours), "theirs": len(theirs), "both": len(theirs & ours.keys()), "theirs only": len(theirs - ours.keys())})
    row.update(f"ours only, {state}" for address, (state, _, _) in ours.items() if address not in theirs)
    if theirs - ours.keys():
        print(f"{core.parent}: theirs only: " + " ".join(f"{a:#x}" for a in sorted(theirs - ours.keys())[:10]), file=sys.stderr)
    odd = [f"{a:#x} ({size} B, {root})" for a, (state, size, root) in sorted(ours.items()) if a not in theirs and state == "unmarked"]
    if odd:
        print(f"{core.parent}: ours only, unmarked: " + " ".join(odd[:10]), file=sys.stderr)
    return row


COLLECTOR = ("live", "new", "lost", "cores with lost", "held", "without-map", "unknown", "retained", "retained-wrong")
VIEWCORE = ("ours", "theirs", "both", "theirs only", "ours only, marked", "ours only, new", "ours only, unmarked")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heap_check")
    parser.add_argument("--viewcore", default="")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    cores = []
    for core in sorted(c for folder in args.folders for c in folder.glob("go1.*/*.*/core")):
        build = core.parent.name.split(".", 1)[0]
        exe = core.parent.parent / f"exe.{build}"
        if exe.exists() and not (args.viewcore and build == "stripped"):
            cores.append((core, exe))

    def compare(pair: tuple[pathlib.Path, pathlib.Path]) -> collections.Counter[str] | None:
        return beside_viewcore(args.heap_check, args.viewcore, *pair) if args.viewcore else beside_collector(args.heap_check, *pair)

    columns = VIEWCORE if args.viewcore else COLLECTOR
    rows: dict[int, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (core, _), row in zip(cores, pool.map(compare, cores)):
            minor = int(core.parent.parent.name.split(".")[1])
            rows[minor].update({"cores": 1} if row is not None else {"not read": 1})
            rows[minor].update(row or {})
    print("| Go | cores | not read | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 3) + "|")
    for minor, row in sorted(rows.items()):
        print(f"| 1.{minor} | {row['cores']} | {row['not read']} | " + " | ".join(str(row[c]) for c in columns) + " |")
    kinds = sum((collections.Counter({k: n for k, n in row.items() if ": " in k}) for row in rows.values()), collections.Counter())
    if kinds:  # of at most 20 objects a core
        print("\n" + ", ".join(f"{n} × {kind}" for kind, n in kinds.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
