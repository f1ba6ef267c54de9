#!/usr/bin/env python3
"""cases.py [PROGRAM...]: checks every case.json (twin there, kinds known, folder = mode) and prints them as a table.

Exit code 1 when a case is wrong.
"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = """crash.fault crash.panic crash.fatal crash.abort crash.stack-overflow crash.requested go.mutex.orphaned
go.mutex.self-deadlock go.mutex.bad-unlock go.rwmutex.reader-leaked lock.cycle go.waitgroup.stuck go.goroutine.leaked
go.frame-pointer.dangling go.frame-chain.broken go.pointer.freed go.pointer.bad go.pointer.offheap-only go.map.freed
go.map.concurrent-access go.map.corrupt go.slice.bad go.string.bad go.interface.bad go.pool.duplicate
cgo.pointer.outlived native.mutex.orphaned native.rwlock.orphaned native.mutex.self-deadlock
native.frame-pointer.dangling native.frame-chain.broken native.pointer.freed native.hash.freed-bucket
native.heap.double-free native.heap.corrupt native.heap.bad-free""".split()
HOWS = {"abort", "gcore", "signal", "signal-self", "throw"}


def load(program):
    return {p.parent.name: json.loads(p.read_text()) for p in sorted((ROOT / program / "cases").glob("*/case.json"))}


def wrong(name, case, cases):
    if case["mode"] != name:
        yield "folder and mode differ"
    if case["twin"] is not None and case["twin"] not in cases:
        yield f"no twin {case['twin']}"
    if case["twin"] is not None and case["sick"] and cases.get(case["twin"], {"sick": False})["sick"]:
        yield "its twin is sick too"
    if case["sick"] != bool(case["expect"]):
        yield "sick and expect disagree"
    if set(case["how"]) - HOWS:
        yield f"unknown how {case['how']}"
    if "cause" in case:
        same = cases.get(case["cause"], {"sick": False})
        if not same["sick"] or "cause" in same or not case["sick"] or not case.get("cause_why"):
            yield "cause: a sick mode with no cause of its own, and why it is the same"
    for e in case["expect"]:
        if e["kind"] not in KINDS:
            yield f"unknown kind {e['kind']}"


def main():
    bad = 0
    for program in sys.argv[1:] or ["locks", "heap", "cgo", "native", "web"]:
        cases = load(program)
        print(f"\n| {program} | | twin | what |\n|---|---|---|---|")
        for name, case in sorted(cases.items(), key=lambda nc: (not nc[1]["sick"], nc[0])):
            for w in wrong(name, case, cases):
                print(f"{program}/{name}: {w}", file=sys.stderr)
                bad += 1
            kinds = ", ".join(sorted({e["kind"] for e in case["expect"]})) or "healthy"
            print(f"| `{name}` | {kinds} | `{case['twin'] or '–'}` | {case['title']} |")
        print(f"\n{sum(c['sick'] for c in cases.values())} sick, {sum(not c['sick'] for c in cases.values())} healthy")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
