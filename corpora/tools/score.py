#!/usr/bin/env python3
"""Recall and false findings of a corpus: runs the command over every core and compares with case.json.

    corpora/tools/score.py /srv/corpora/locks [--only go1.24] [--builds dwarf,stripped] [--bin build/incident] [-v]
    corpora/tools/score.py /srv/corpora/native --cases native --modes 'pt_*,rw_*' --kinds native.mutex,native.rwlock,lock.cycle
    corpora/tools/score.py /srv/corpora/heap --cases heap --kinds go.pointer,go.frame-pointer,go.frame-chain

A planted fault counts as found when a finding of its kind, at warning or above, names the right address (and, where the case
says so, exactly the right waiters or goroutines). Any finding of warning or above on a healthy twin is false; on a sick case
every finding beside the planted one (crash findings of the core's own end apart) is `extra`. Where a case says so and the
memory that the planted word leads to reads as zeros in the core, nobody can know what lay there: then a finding of another
kind that names the right address counts, and is counted apart as well (`zeroed`). With --kinds only cases
that expect one of them, and healthy ones; findings of other kinds are not judged. Holders: pending defers and frames that case.json names and `locks` lists.
"""
import argparse
import collections
import concurrent.futures
import fnmatch
import json
import pathlib
import re
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def fields(line):
    return {k: v.strip('"') for k, v in re.findall(r'([\w-]+)=("[^"]*"|\S+)', line)}


class Truth:
    def __init__(self, path):
        self.core = path.parent / "core"
        self.objects, self.ids, self.now, self.values = {}, {}, {}, {}
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("object "):
                f = fields(line)
                self.objects[f["name"]] = int(f["addr"], 16)
                if "value" in f:
                    self.values[f["name"]] = int(f["value"].rstrip(","), 16)
                if "now" in f and "in" in f:
                    self.now[f["name"]] = int(f["now"], 16), f["in"]
            elif line.startswith("goroutine id="):
                f = fields(line)
                self.ids[f["name"]] = int(f["id"])
            elif line.startswith("thread name="):
                f = fields(line)
                self.ids[f["name"]] = int(f["tid"])


def actor(who):
    return who.get("goroutine") if who.get("goroutine") is not None else who.get("thread")


def run(binary, core, exe, kinds):
    only = [word for kind in kinds for word in ("--only", kind)]
    done = subprocess.run([binary, "analyze", core, exe, "--format", "json", *only], capture_output=True, timeout=120)
    try:
        return done.returncode, json.loads(done.stdout)
    except json.JSONDecodeError:
        return done.returncode, None


def hexed(value):
    return int(value, 16) if isinstance(value, str) else value


def reads_as_zeros(core, address, size):
    """Are these bytes in the core, and all zero?"""
    with open(core, "rb") as f:
        head = f.read(64)
        (phoff,), (count,) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<H", head, 56)
        f.seek(phoff)
        for kind, _, offset, begin, _, have, _, _ in [struct.unpack("<IIQQQQQQ", f.read(56)) for _ in range(count)]:
            if kind == 1 and begin <= address and address + size <= begin + have:
                f.seek(offset + address - begin)
                return not any(f.read(size))
    return False


def judge(case, truth, code, report):
    """(found, wanted, wrong, holders found, holders wanted, notes)"""
    if report is None:
        return 0, len(case["expect"]), 1, 0, 0, [f"no report, exit {code}"]
    notes = []
    alarms = [f for f in report["findings"] if f["severity"] in ("error", "warning")]
    # The program's own end is no false finding: a C program that sends itself SIGABRT did abort.
    own_end = "crash." if case["sick"] else "crash.abort" if "abort" in case["how"] else "-"
    spare = [f for f in alarms if not f["kind"].startswith(own_end)]
    found = 0
    for want in case["expect"]:
        if want["kind"].startswith("crash."):  # no object: what was said, and where
            told = any(f["kind"] == want["kind"] and want["message"] in f["title"] and want["function"] in f["where"] for f in alarms)
            found += told
            notes += [] if told else [f"missed {want['kind']} in {want['function']}"]
            continue
        # A cycle has several locks; its subject may be any of them.
        addresses = {truth.objects.get(s) for s in [want["subject"], *want.get("subjects", [])]}
        if want["kind"] == "go.goroutine.leaked":  # one finding for each place; together they name whom the case names
            told = [f for f in spare if f["kind"] == want["kind"]]
            ids, have = sorted(truth.ids[n] for n in want["goroutines"]), sorted(i for f in told for i in f["goroutines"])
            spare = [f for f in spare if f not in told]
            found += ids == have
            notes += [] if ids == have else [f"leaked: {have}, want {ids}"]
            continue
        lost = want.get("zeroed")
        lost = lost if lost and reads_as_zeros(truth.core, truth.values[want["subject"]], lost["bytes"]) else None
        for f in list(spare):
            if f["kind"] != want["kind"] and not (lost and f["kind"] in lost["kinds"]):
                continue
            at = f["subject"] and f["subject"].get("address")
            # A word on a stack: the stack may have moved between the note and the damage. What was written there tells.
            moved = truth.now.get(want["subject"])
            same = moved and f["subject"].get("symbol") == moved[1] and any(hexed(e["value"]) == moved[0] for e in f["evidence"] if str(e["value"]).startswith("0x"))
            if at is None or (hexed(at) not in addresses and not same):
                notes.append(f"{f['kind']} with subject {at}, want {want['subject']}")
                continue
            ids = sorted(truth.ids[n] for n in want.get("waiters", want.get("goroutines", want.get("threads", []))))
            if ids and ids not in (sorted(f["goroutines"]), sorted(f["threads"])):
                notes.append(f"goroutines {f['goroutines']}, threads {f['threads']}, want {ids}")
                continue
            found += 1
            notes += [f"zeroed: told as {f['kind']}"] if f["kind"] != want["kind"] else []
            spare.remove(f)
            break
        else:
            weak = [f"{f['kind']} {f['severity']} {f['strength']}: {'; '.join(f['innocent'][:3])}" for f in report["findings"] if not f["kind"].startswith("crash.")]
            notes.append(f"missed {want['kind']}; has {weak}")
        if "edges" in want:
            have = {(actor(e["from"]), hexed(e["object"]), actor(e["to"])) for e in (report["wait_graph"] or {}).get("edges", [])}
            for a, lock, b in want["edges"]:
                if (truth.ids[a], truth.objects.get(lock), truth.ids[b]) not in have:
                    notes.append(f"no edge {a} > {b}")
    crash_expected = "signal-self" in case["how"] or "throw" in case["how"]
    wrong = [f for f in spare if not (crash_expected and f["kind"].startswith("crash."))]
    notes += [f"FALSE {f['kind']} {f['severity']}: {f['title']}" for f in wrong]
    if case["sick"] and code != 1:
        notes.append(f"exit {code}")
    by_address = {hexed(lock["address"]): lock for lock in report["locks"] or []}
    wanted_holders = case.get("holders") or []
    good = 0
    for h in wanted_holders:
        lock = by_address.get(truth.objects.get(h["lock"]))
        ids = {actor(x) for x in lock["holders"]} if lock else set()
        if truth.ids.get(h.get("goroutine", h.get("thread"))) in ids:
            good += 1
        else:
            notes.append(f"holder {h.get('goroutine', h.get('thread'))} of {h['lock']} not listed ({h['basis']})")
    return found, len(case["expect"]), len(wrong), good, len(wanted_holders), notes


def main():
    p = argparse.ArgumentParser()
    p.add_argument("corpus", type=pathlib.Path)
    p.add_argument("--bin", default=ROOT / "build" / "incident")
    p.add_argument("--only", default="")
    p.add_argument("--cases", default="locks", help="locks, heap, cgo, native")
    p.add_argument("--builds", default="")
    p.add_argument("--modes", default="", help="with wildcards")
    p.add_argument("--kinds", default="")
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("-v", action="store_true")
    a = p.parse_args()
    cases = {c.parent.name: json.loads(c.read_text()) for c in (ROOT / "corpora" / a.cases / "cases").glob("*/case.json")}
    kinds = [k for k in a.kinds.split(",") if k]
    builds = a.builds or ("O0,O2,stripped,static,xxO0,xxO2,xxstripped,tbO0,tbO2,tbstripped" if a.cases == "native" else "dwarf,stripped,noopt")
    versions = sorted((v for v in a.corpus.glob("*glibc-*" if a.cases == "native" else "*go1.*") if v.is_dir() and (not a.only or v.name in a.only.split(","))), key=lambda v: int(v.name.split(".")[-1]))
    table = collections.OrderedDict()
    work = []
    for version in versions:
        for build in builds.split(","):
            for folder in sorted(version.glob(f"{build}.*")):
                mode = folder.name.split(".", 1)[1]
                name = re.sub(r"-(gcore|quit)$", "", mode)
                wanted = name in cases and (not a.modes or any(fnmatch.fnmatch(name, m) for m in a.modes.split(",")))
                if wanted and kinds and cases[name]["sick"] and not any(e["kind"].startswith(tuple(kinds)) for e in cases[name]["expect"]):
                    wanted = False
                if wanted and (folder / "core").exists():
                    work.append((version, build, folder, cases[name]))

    def one(item):
        version, build, folder, case = item
        code, report = run(a.bin, folder / "core", version / f"exe.{build}", kinds)
        return item, judge(case, Truth(folder / "truth.txt"), code, report)

    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for (version, build, folder, case), (found, wanted, wrong, good, holders, notes) in pool.map(one, work):
            row = table.setdefault((version.name, build), collections.Counter())
            row.update(found=found, zeroed=sum(n.startswith("zeroed") for n in notes), wanted=wanted, holders=good, holders_wanted=holders)
            row["false" if not case["sick"] else "extra"] += wrong
            row["twins" if not case["sick"] else "sick"] += 1
            if notes and a.v:
                print(f"{version.name} {folder.name}: " + " | ".join(notes), file=sys.stderr)
    print(f"| {'glibc' if a.cases == 'native' else 'Go'} | build | planted faults found | false findings on twins | beside the fault | holders in twins |\n|---|---|---|---|---|---|")
    for (version, build), r in table.items():
        beyond = f" ({r['zeroed']} zeroed)" if r["zeroed"] else ""
        print(f"| {version} | {build} | {r['found']} of {r['wanted']}{beyond} | {r['false']} on {r['twins']} | {r['extra']} | {r['holders']} of {r['holders_wanted']} |")


if __name__ == "__main__":
    main()
