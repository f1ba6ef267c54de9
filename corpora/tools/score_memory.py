#!/usr/bin/env python3
"""Recall and false findings of the native and cgo corpora: runs the command over every core and compares with case.json.

    corpora/tools/score_memory.py native /srv/corpora/native/glibc-2.36 [--builds O0,stripped] [--modes uaf_hold] [--bin build/incident] [-v]
    corpora/tools/score_memory.py cgo /srv/corpora/cgo/go1.2*

A planted fault counts as found when a finding of its kind, at warning or above, names the right address: the object of the truth, or a
word within its first 64 bytes (a stripped program has no names for the object around a word). The cases' other kinds (locks) are
left to score.py: --kinds. Any finding of warning or above of these kinds on a healthy twin is false; on a sick case every one beside
the planted one is `extra`.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from score import ROOT, Truth, hexed, run  # noqa: E402

KINDS = ["native.heap", "native.pointer", "native.hash", "native.frame", "cgo.pointer", "go.pointer"]


def judge(case, truth, code, report, kinds):
    notes = []
    mine = lambda kind: any(kind.startswith(k) for k in kinds)
    wanted = [e for e in case["expect"] if mine(e["kind"])]
    if report is None:
        return 0, len(wanted), 0, [f"no report, exit {code}"]
    alarms = [f for f in report["findings"] if f["severity"] in ("error", "warning") and mine(f["kind"])]
    found = 0
    for want in wanted:
        at = truth.objects.get(want["subject"], 0)
        for f in list(alarms):
            subject = hexed(f["subject"] and f["subject"].get("address"))
            if f["kind"] == want["kind"] and subject is not None and at <= subject < at + 64:
                found += 1
                alarms.remove(f)
                notes += [] if subject == at else [f"subject +{subject - at}"]
                break
        else:
            near = [f"{f['kind']} {f['severity']} {f['subject']['address'] if f['subject'] else None}: {f['title']}" for f in report["findings"] if mine(f["kind"])]
            notes.append(f"missed {want['kind']} of {want['subject']} at {at:#x}; has {near}")
    notes += [f"FALSE {f['kind']} {f['severity']}: {f['title']} | {f['why']}" for f in alarms]
    if wanted and code != 1:
        notes.append(f"exit {code}")
    return found, len(wanted), len(alarms), notes


def main():
    p = argparse.ArgumentParser()
    p.add_argument("corpus")
    p.add_argument("folders", nargs="+", type=pathlib.Path)
    p.add_argument("--bin", default=ROOT / "build" / "incident")
    p.add_argument("--builds", default="")
    p.add_argument("--modes", default="")
    p.add_argument("--kinds", default=",".join(KINDS))
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("-v", action="store_true")
    a = p.parse_args()
    cases = {c.parent.name: json.loads(c.read_text()) for c in (ROOT / "corpora" / a.corpus / "cases").glob("*/case.json")}
    work = []
    for folder in a.folders:
        for core in sorted(folder.glob("*.*/core")):
            build, mode = core.parent.name.split(".", 1)
            name = re.sub(r"-(gcore|quit)$", "", mode)
            if name in cases and (not a.builds or build in a.builds.split(",")) and (not a.modes or name in a.modes.split(",")):
                work.append((folder.name, build, core, cases[name]))

    def one(item):
        folder, build, core, case = item
        code, report = run(a.bin, core, core.parents[1] / f"exe.{build}", [])
        return item, judge(case, Truth(core.parent / "truth.txt"), code, report, a.kinds.split(","))

    table, missed = collections.OrderedDict(), 0
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for (folder, build, core, case), (found, wanted, extra, notes) in pool.map(one, work):
            row = table.setdefault((folder, build), collections.Counter())
            row.update(found=found, wanted=wanted)
            row["extra" if wanted else "false"] += extra
            row["sick" if wanted else "others"] += 1
            missed += wanted - found + (0 if wanted else extra)
            if notes and a.v:
                print(f"{folder} {core.parent.name}: " + " | ".join(notes), file=sys.stderr)
    print("| corpus | build | planted faults found | false findings on twins and other cases | beside the fault |\n|---|---|---|---|---|")
    for (folder, build), r in table.items():
        print(f"| {folder} | {build} | {r['found']} of {r['wanted']} | {r['false']} on {r['others']} | {r['extra']} |")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
