#!/usr/bin/env python3
"""Clusters of `incident triage` against the ground truth of the corpora: one planted fault, one cluster?

    incident triage build/corpora --store all.ndjson --format json -o all.json
    corpora/tools/clusters.py all.ndjson all.json            # a table in Markdown
    corpora/tools/clusters.py --errors all.ndjson all.json   # and every cluster with two causes, every cause in two clusters

The truth of a core is its program and cause, whatever the Go version, the build (dwarf, stripped, O0, O2 …) and the way the
core was taken (-gcore, -quit, -raw). The cause is the mode, but for modes that plant the same fault: their case.json says so
with `cause` (the mode that it is the same as) and `cause_why`. The strict columns do without that: there every mode is its
own cause. Precision: of the cores that share a core's cluster, how many have its cause; recall: of the cores with its cause,
how many are in its cluster; both averaged over the cores (B-cubed). Sick cores only; a healthy one must be in no cluster of
a finding, and is counted apart.
"""
from __future__ import annotations

import argparse
import collections
import json
import pathlib
import re
import sys
import typing

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE_SICK = {"waits", "nilderef", "panicnested", "fatalmap", "overflow", "orphan", "csegv", "chold"}
PROGRAMS = ("locks", "heap", "cgo", "native", "web")


def cases() -> dict[str, dict[str, typing.Any]]:
    return {f"{p.parts[-4]}/{p.parent.name}": json.loads(p.read_text()) for p in ROOT.glob("corpora/*/cases/*/case.json")}


def label(path: str) -> tuple[str, str] | None:
    """("locks/orphan_panic", "dwarf") of a core of the bundles (locks-go1.16/…) or of a full corpus (locks/go1.16/…)."""
    at = re.search(r"/(?:([a-z]+)[-/])?(?:go1\.\d+|glibc-[\d.]+)/(\w+)\.([\w-]+)/core[^/]*$", path)
    if at is None:
        return None
    program = at[1] if at[1] in PROGRAMS else "probe"
    return f"{program}/{re.sub(r'-(gcore|quit|raw)$', '', at[3])}", at[2]


class Core(typing.NamedTuple):
    mode: str
    cause: str
    cluster: str
    exact: str
    text: str


def b_cubed(cores: list[Core], truth: typing.Callable[[Core], str], cluster: typing.Callable[[Core], str]) -> tuple[float, float]:
    by_cluster: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    by_truth: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for core in cores:
        by_cluster[cluster(core)][truth(core)] += 1
        by_truth[truth(core)][cluster(core)] += 1
    precision = sum(by_cluster[cluster(c)][truth(c)] / by_cluster[cluster(c)].total() for c in cores) / len(cores)
    recall = sum(by_truth[truth(c)][cluster(c)] / by_truth[truth(c)].total() for c in cores) / len(cores)
    return precision, recall


def show_errors(sick: dict[str, Core]) -> None:
    def grouped(key: str, other: str) -> dict[str, dict[str, list[str]]]:
        out: dict[str, dict[str, list[str]]] = {}
        for path, core in sick.items():
            out.setdefault(getattr(core, key), {}).setdefault(getattr(core, other), []).append(path)
        return {k: dict(sorted(v.items(), key=lambda item: -len(item[1]))) for k, v in out.items() if len(v) > 1}

    for word, groups in (("together", grouped("cluster", "cause")), ("apart", grouped("cause", "cluster"))):
        for name, parts in groups.items():
            print(f"\n{word}, {name if word == 'apart' else 'cluster ' + name}:")
            for part, paths in parts.items():
                print(f"  {len(paths)} {part if word == 'together' else ''} {sick[paths[0]].text}  e.g. {paths[0]}")


def read(store: pathlib.Path, summary: pathlib.Path) -> tuple[dict[str, Core], int, list[str]]:
    """The sick cores by path; how many healthy ones there are; and which of those stand in a cluster of a finding."""
    known = cases()
    near, exact = {}, {}
    for number, cluster in enumerate(json.loads(summary.read_text())["clusters"]):
        for variant in cluster["variants"]:
            for path in variant["paths"]:
                near[path], exact[path] = f"{number}", variant["id"]
    sick: dict[str, Core] = {}
    healthy, accused = 0, []
    for record in map(json.loads, store.open()):
        path, verdict, at = record["path"], record["verdict"], label(record["path"])
        if at is None or not verdict:
            continue
        program, mode = at[0].split("/")
        case = {"sick": mode in PROBE_SICK} if program == "probe" else known.get(at[0])
        if case is None:  # a mode of another day
            continue
        if case["sick"]:
            cause = f"{program}/{case.get('cause', mode)}"
            sick[path] = Core(at[0], cause, near.get(path, "quiet"), exact.get(path, "quiet"), verdict["signature"]["text"])
            continue
        healthy += 1
        if path in near and not verdict["signature"]["kind"].startswith("crash."):
            accused.append(path)
    return sick, healthy, accused


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("summary", type=pathlib.Path)
    parser.add_argument("--errors", action="store_true")
    options = parser.parse_args()
    sick, healthy, accused = read(options.store, options.summary)
    print(f"{len(sick)} cores with a planted fault ({len({c.cause for c in sick.values()})} causes), {healthy} healthy "
          f"({len(accused)} of those in a cluster of a finding)\n")
    print("| cores with a planted fault | causes | clusters | precision | recall | exact only | strict: modes | precision | recall |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in ("all", *PROGRAMS, "probe"):
        part = [c for c in sick.values() if name in ("all", c.cause.split("/")[0])]
        if not part:
            continue
        by_cause = b_cubed(part, lambda c: c.cause, lambda c: c.cluster)
        by_exact = b_cubed(part, lambda c: c.cause, lambda c: c.exact)
        by_mode = b_cubed(part, lambda c: c.mode, lambda c: c.cluster)
        print(f"| {name}: {len(part)} | {len({c.cause for c in part})} | {len({c.cluster for c in part})} | {by_cause[0]:.3f} "
              f"| {by_cause[1]:.3f} | {by_exact[0]:.3f} / {by_exact[1]:.3f} | {len({c.mode for c in part})} | {by_mode[0]:.3f} | {by_mode[1]:.3f} |")
    if options.errors:
        show_errors(sick)
        for path in accused:
            print(f"\nhealthy, in a cluster of a finding: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
