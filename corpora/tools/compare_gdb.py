#!/usr/bin/env python3
"""Backtraces beside gdb's: function names and their count, for every thread of every core of a corpus.

    corpora/tools/compare_gdb.py /srv/corpora/native/glibc-2.36 [--builds O0,O2] [--modes uaf_hold] [--bin build/incident] [-v]
    corpora/tools/compare_gdb.py /srv/corpora/cgo/go1.22

One line per build: threads, how many are equal, and for the others why: `gdb stops early` (gdb's frames are the beginning of ours),
`ours stops early`, `differ`. Unknown functions ("??" in gdb) compare as unknown: a stripped program has few names. Parameters,
template arguments and suffixes of clones are left out of names. Frames that gdb infers from debug data (tail calls: nothing of them is
on the stack) are left out too, and counted; its `<signal handler called>` is the kernel's frame.
"""
import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def plain(name):
    """Only what both write the same way."""
    name = re.sub(r"\(anonymous namespace\)", "{anonymous}", name or "??")
    name = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", name))
    name = re.split(r"\(", name)[0]
    name = re.sub(r"\.(constprop|isra|part|cold)\.?\d*|\.lto_priv\.\d+|\[clone.*", "", name)
    name = re.sub(r"^__GI_+|^__libc_(?=free|malloc|calloc|realloc)", "", name.strip())
    return name or "??"


WALK = """
python
for t in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
    t.switch()
    print("THREAD", t.ptid[1] or t.ptid[0])
    f = gdb.newest_frame()
    n = 0
    while f is not None and n < 5000:
        print("FRAME", f.type(), f.name() or "??")
        n += 1
        try:
            f = f.older()
        except gdb.error as e:
            f = None
end
"""


def by_gdb(exe, core):
    """Frames by thread, and how many of them gdb inferred: tail calls have left nothing on the stack."""
    with tempfile.NamedTemporaryFile("w", suffix=".gdb") as script:
        script.write(WALK)
        script.flush()
        out = subprocess.run(["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set backtrace past-main on", "-x", script.name, exe, core],
                             capture_output=True, timeout=300).stdout.decode(errors="replace")
    threads, current, inferred = {}, None, 0
    for line in out.splitlines():
        kind, *rest = line.split(" ", 2)
        if kind == "THREAD":
            current = threads.setdefault(int(rest[0]), [])
        elif kind == "FRAME" and current is not None:
            if int(rest[0]) == 3:  # gdb.TAILCALL_FRAME
                inferred += 1
            else:
                current.append("<signal>" if int(rest[0]) == 4 else plain(rest[1]))
    return threads, inferred


def by_us(binary, exe, core):
    out = subprocess.run([binary, "threads", core, exe, "--format", "json"], capture_output=True, timeout=300).stdout
    return {t["tid"]: ["<signal>" if f["kind"] == "signal" else plain(f["function"]) for f in t["frames"]] for t in json.loads(out)["threads"]}


def judge(theirs, ours):
    same = lambda a, b: a == b or "??" in (a, b)
    if len(theirs) == len(ours) and all(map(same, theirs, ours)):
        return "equal"
    # The kernel's frame: gdb counts it, and its trampoline has a name with us.
    clean = lambda names: [n for n in names if n not in ("<signal>", "__restore_rt", "runtime.sigreturn__sigaction")]
    a, b = clean(theirs), clean(ours)
    if len(a) == len(b) and all(map(same, a, b)):
        return "equal"
    n = min(len(a), len(b))
    if all(map(same, a[:n], b[:n])):
        return "gdb stops early" if len(a) < len(b) else "ours stops early"
    return "differ"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folders", nargs="+", type=pathlib.Path)
    p.add_argument("--bin", default=ROOT / "build" / "incident")
    p.add_argument("--builds", default="")
    p.add_argument("--modes", default="")
    p.add_argument("-v", action="store_true")
    a = p.parse_args()
    table = collections.OrderedDict()
    for folder in a.folders:
        for core in sorted(folder.glob("*.*/core")):
            build, mode = core.parent.name.split(".", 1)
            if (a.builds and build not in a.builds.split(",")) or (a.modes and mode not in a.modes.split(",")):
                continue
            exe = folder / f"exe.{build}"
            (theirs, inferred), ours = by_gdb(exe, core), by_us(a.bin, exe, core)
            row = table.setdefault((folder.name, build), collections.Counter())
            row["inferred"] += inferred
            for tid in sorted(theirs):
                verdict = judge(theirs[tid], ours.get(tid, []))
                row[verdict] += 1
                if a.v and verdict != "equal":
                    print(f"{folder.name} {core.parent.name} thread {tid}: {verdict}\n    gdb  {' < '.join(theirs[tid])}\n    ours {' < '.join(ours.get(tid, ['(no such thread)']))}", file=sys.stderr)
    print("| corpus | build | threads | equal | gdb stops early | ours stops early | differ | frames that gdb infers |\n|---|---|---|---|---|---|---|---|")
    for (folder, build), r in table.items():
        print(f"| {folder} | {build} | {sum(r.values()) - r['inferred']} | {r['equal']} | {r['gdb stops early']} | {r['ours stops early']} | {r['differ']} | {r['inferred']} |")


if __name__ == "__main__":
    main()
