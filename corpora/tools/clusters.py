#!/usr/bin/env python3
"""Clusters of `incident triage` against the ground truth of the corpora: one planted fault, one cluster?

    incident triage build/corpora --store all.ndjson --format json -o all.json
    corpora/tools/clusters.py all.ndjson all.json            # a table in Markdown, and where they differ
    corpora/tools/clusters.py --errors all.ndjson all.json   # every cluster with two faults, every fault in two clusters

The truth of a core is its program and mode (locks/orphan_panic), whatever the Go version, the build (dwarf, stripped, O0, O2 …)
and the way the core was taken (-gcore, -quit, -raw). Precision: of the cores that share a core's cluster, how many have
its fault; recall: of the cores with its fault, how many are in its cluster; both averaged over the cores (B-cubed). Sick
cores only; healthy ones must be in no cluster of a fault, and are counted apart.
"""
from __future__ import annotations

import argparse
import collections
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE_SICK = {"nilderef", "panicnested", "fatalmap", "overflow", "orphan", "csegv", "chold"}


def cases() -> dict[str, dict]:
    return {f"{p.parts[-4]}/{p.parent.name}": json.loads(p.read_text()) for p in ROOT.glob("corpora/*/cases/*/case.json")}


def label(path: str) -> tuple[str, str] | None:
    """("locks/orphan_panic", "dwarf") of a core of the corpora."""
    folder = re.search(r"/([a-z]*)-?(go1\.\d+|glibc-[\d.]+)/([\w]+)\.([\w-]+)/core[^/]*$", path)
    if not folder:
        return None
    program = folder[1] or "probe"
    if program in ("locks", "heap", "cgo", "native") or program == "probe":
        return f"{program}/{re.sub(r'-(gcore|quit|raw)$', '', folder[4])}", folder[3]
    return None


def full_label(path: str) -> tuple[str, str] | None:
    """The same below a full corpus: locks/go1.24/dwarf.orphan_panic/core."""
    folder = re.search(r"/(locks|heap|cgo|native)/(?:go1\.\d+|glibc-[\d.]+)/(\w+)\.([\w-]+)/core[^/]*$", path)
    return (f"{folder[1]}/{re.sub(r'-(gcore|quit|raw)$', '', folder[3])}", folder[2]) if folder else None


def b_cubed(truth: dict[str, str], cluster: dict[str, str]) -> tuple[float, float]:
    by_cluster, by_truth = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    for path, fault in truth.items():
        by_cluster[cluster[path]][fault] += 1
        by_truth[fault][cluster[path]] += 1
    n = len(truth) or 1
    precision = sum(by_cluster[cluster[p]][f] / sum(by_cluster[cluster[p]].values()) for p, f in truth.items()) / n
    recall = sum(by_truth[f][cluster[p]] / sum(by_truth[f].values()) for p, f in truth.items()) / n
    return precision, recall


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("summary")
    parser.add_argument("--errors", action="store_true")
    options = parser.parse_args()
    known = cases()
    records = [json.loads(line) for line in open(options.store)]
    near, exact = {}, {}
    for number, cluster in enumerate(json.load(open(options.summary))["clusters"]):
        for variant in cluster["variants"]:
            for path in variant["paths"]:
                near[path], exact[path] = f"{number}", variant["id"]
    truth, found, healthy, accused, builds = {}, {}, 0, [], {}
    for record in records:
        at = label(record["path"]) or full_label(record["path"])
        if at is None or not record["verdict"]:
            continue
        fault, build = at
        program, mode = fault.split("/")
        case = known.get(fault)
        sick = mode in PROBE_SICK if program == "probe" else bool(case and case["sick"])
        path = record["path"]
        kinds = {f["kind"] for f in record["verdict"]["findings"] if f["severity"] != "info"}
        if not sick:
            healthy += 1
            if path in near and any(not k.startswith("crash.") for k in kinds):
                accused.append(path)
            continue
        truth[path], builds[path] = fault, build
        near.setdefault(path, "quiet")
        exact.setdefault(path, "quiet")
        wanted = {e["kind"] for e in case["expect"]} if case else {k for k in kinds}
        found[path] = bool(wanted & kinds) or any(k in kinds for k in ("crash.panic", "crash.fatal", "crash.fault", "crash.stack-overflow"))
    print(f"{len(records)} cores, {len(truth)} of them with a planted fault ({len(set(truth.values()))} faults), "
          f"{healthy} healthy ({len(accused)} of those in a fault's cluster)\n")
    print("| cores | faults | clusters | precision | recall | exact only: clusters | precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    groups = {"all": lambda p: True, "whose fault was found": lambda p: found[p]}
    for program in ("locks", "heap", "cgo", "native", "probe"):
        groups[program] = lambda p, program=program: truth[p].startswith(program + "/")
        groups[program + ", found"] = lambda p, program=program: truth[p].startswith(program + "/") and found[p]
    for name, test in groups.items():
        part = {p: f for p, f in truth.items() if test(p)}
        if not part:
            continue
        precision, recall = b_cubed(part, near)
        exact_precision, exact_recall = b_cubed(part, exact)
        print(f"| {name}: {len(part)} | {len(set(part.values()))} | {len({near[p] for p in part})} | {precision:.3f} | {recall:.3f} "
              f"| {len({exact[p] for p in part})} | {exact_precision:.3f} | {exact_recall:.3f} |")
    if options.errors:
        by_cluster, by_truth = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
        text = {r["path"]: r["verdict"]["signature"]["text"] for r in records if r["verdict"]}
        for path, fault in truth.items():
            by_cluster[near[path]][fault] += 1
            by_truth[fault][near[path]] += 1
        for cluster, faults in by_cluster.items():
            if len(faults) > 1:
                example = next(p for p in truth if near[p] == cluster)
                print(f"\ntogether, {text[example]}: " + ", ".join(f"{f} {n}" for f, n in faults.most_common()))
        for fault, clusters in by_truth.items():
            if len(clusters) > 1:
                print(f"\napart, {fault}:")
                for cluster, n in clusters.most_common():
                    example = next(p for p in truth if near[p] == cluster and truth[p] == fault)
                    print(f"  {n} {text[example]}  e.g. {example}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
