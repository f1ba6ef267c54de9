#!/usr/bin/env python3
"""compare_stacks.py [--incident PATH] [--only PART] ROOT...: goroutines as `incident goroutines --stacks` prints them against
the program's own runtime.Stack(all) in truth.txt: ids, states, and of every frame function, file, line and inlining.

ROOT holds unpacked bundles (corpora/tools/unpack.sh): ROOT/go1.24/exe.dwarf, ROOT/go1.24/dwarf.waits/{core,truth.txt}.
The runtime's own rules decide which frames its text shows (runtime/traceback.go): not its internal functions, not wrappers.
Goroutines that were running or runnable when the text was taken ran on: of them only the function they began with counts.
Exit code 1 when anything differs."""
import argparse
import json
import pathlib
import re
import subprocess
import sys


class Truth:
    """The block between stacks-begin and stacks-end."""

    def __init__(self, path: pathlib.Path):
        text = path.read_text(errors="replace")
        self.goroutines: dict[int, dict] = {}
        if "stacks-begin" not in text:
            return
        block = text[text.index("stacks-begin"):text.index("\nstacks-end")].split("\n", 1)[1]
        for part in re.split(r"\n\n(?=goroutine )", block.strip()):
            lines = part.split("\n")
            head = re.match(r"goroutine (\d+) \[([^\],]*)[^\]]*\].*:$", lines[0])  # 1.27 puts labels behind the brackets
            if head is None:
                continue
            g = {"state": head[2], "frames": [], "created": None, "elided": None, "elided_at": None}
            for line, place in zip(lines[1:], lines[2:] + [""]):
                if line.startswith("..."):
                    g["elided_at"] = len(g["frames"])
                    count = re.match(r"\.\.\.(\d+) frames elided", line)
                    g["elided"] = int(count[1]) if count else None
                elif line.startswith("created by "):
                    g["created"] = re.sub(r" in goroutine \d+$", "", line[len("created by "):])
                elif line and not line.startswith("\t"):
                    at = re.match(r"\t(.*):(\d+)(?: \+0x[0-9a-f]+)?", place)
                    g["frames"].append((line[:line.rindex("(")], at[1], int(at[2]), line.endswith("(...)")))
            self.goroutines[int(head[1])] = g


def shown(function: str, minor: int) -> bool:
    """showfuncinfo: would the runtime's text without GOTRACEBACK=system have this frame?"""
    if function == "panic":
        return True
    if minor >= 25 and function in ("runtime.runFinalizers", "runtime.runCleanups"):
        return True
    if "." not in function:
        return False
    if not function.startswith("runtime."):
        return True
    name = function[len("runtime."):]
    receiver, _, method = name.rpartition(".")
    if minor < 23:
        return name[:1].isupper()
    receiver = receiver.removeprefix("(*").removesuffix(")")
    return method[:1].isupper() and (not receiver or receiver[:1].isupper())


def printed(frames: list[dict], minor: int) -> list[tuple]:
    go = [(f["function"] or "", f["file"] or "", f["line"], f["inlined"]) for f in frames if f["kind"] == "go"]
    kept = []
    for f in go:
        if shown(f[0], minor) and not (f[0] == "panic" and not kept):
            kept.append(f)
    return kept or go


def compare(name: str, report: dict, truth: Truth, minor: int) -> tuple[int, list[str]]:
    bad, compared = [], 0
    ours = {g["id"]: g for g in report["goroutines"]}
    for goid, want in truth.goroutines.items():
        ran_on = want["state"] in ("running", "runnable")
        g = ours.get(goid)
        if g is None:
            if not ran_on:
                bad.append(f"{name}: goroutine {goid} is missing")
            continue
        frames = printed(g["frames"] or [], minor)
        if ran_on:
            if frames and want["frames"] and frames[-1][0] != want["frames"][-1][0]:
                bad.append(f"{name}: goroutine {goid} began with {frames[-1][0]}, expected {want['frames'][-1][0]}")
            continue
        state = g["wait_reason"] or g["status"]
        if state != want["state"]:
            bad.append(f"{name}: goroutine {goid} [{state}], expected [{want['state']}]")
        if (g["created_by"] or None) != want["created"]:
            bad.append(f"{name}: goroutine {goid} created by {g['created_by']}, expected {want['created']}")
        expected = want["frames"]
        if want["elided_at"] is not None or minor <= 20 and len(frames) > len(expected) > 90:
            # Up to 1.20 the text ends after 100 physical frames, later its middle is left out.
            head = want["elided_at"] if want["elided_at"] is not None else len(expected)
            tail = len(expected) - head
            frames = frames[:head] + (frames[-tail:] if tail else [])
        compared += len(expected)
        if frames != expected:
            at = next((i for i, (a, b) in enumerate(zip(frames, expected)) if a != b), min(len(frames), len(expected)))
            got = frames[at] if at < len(frames) else "nothing"
            should = expected[at] if at < len(expected) else "nothing"
            bad.append(f"{name}: goroutine {goid} frame {at}: {got}, expected {should}")
    for goid, g in ours.items():
        started_later = g["start"] == "main.neverRan" or g["status"] == "syscall" and not g["created_by"]
        if goid not in truth.goroutines and not g["system"] and not started_later:
            bad.append(f"{name}: goroutine {goid} is not in the truth")
    return compared, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incident", default="build/incident")
    parser.add_argument("--only", default="", help="cores whose path holds this")
    parser.add_argument("roots", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    cores = frames = 0
    failed = []
    for core in sorted(core for root in args.roots for core in root.glob("go1.*/*.*/core")):
        folder = core.parent
        truth = Truth(folder / "truth.txt")
        if args.only not in str(core) or not truth.goroutines:
            continue
        executable = folder.parent / ("exe." + folder.name.split(".")[0])
        run = subprocess.run([args.incident, "goroutines", str(core), str(executable), "--stacks", "--format", "json"], capture_output=True)
        name = f"{folder.parent.name}/{folder.name}"
        if run.returncode not in (0, 1, 3):
            failed.append(f"{name}: exit {run.returncode}: {run.stderr.decode(errors='replace').strip()}")
            continue
        minor = int(folder.parent.name.split(".")[1])
        count, bad = compare(name, json.loads(run.stdout), truth, minor)
        cores, frames = cores + 1, frames + count
        failed += bad
    print("\n".join(failed + [f"{cores} cores, {frames} frames compared, {len(failed)} differences"]))
    return 1 if failed or cores == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
