#!/usr/bin/env python3
"""Times our commands beside their peers on the same core, in turn, in one run, and prints ratios.

Absolute times mean little on a shared machine; the ratio of two commands that ran in turn does. Memory is anonymous memory at
its peak (RssAnon): mapped core pages are the file's, and the kernel takes them back when it wants.

Peers: delve (dlv) and viewcore by `go install`, gdb and eu-stack (elfutils) by apt. What is missing is named and its part skipped.
"""
from __future__ import annotations

import argparse
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(command: list[str]) -> tuple[float, int, float]:
    """Wall seconds, peak anonymous bytes and processor seconds of one run; output is thrown away."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    status = pathlib.Path(f"/proc/{process.pid}/status")
    while True:
        ended, ending, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        try:
            for line in status.read_text().splitlines():
                if line.startswith("RssAnon:"):
                    peak = max(peak, int(line.split()[1]) * 1024)
        except (OSError, ProcessLookupError):
            pass
        time.sleep(0.005)
    process.returncode = os.waitstatus_to_exitcode(ending)
    if process.returncode not in (0, 1, 3):  # ours: nothing found, findings, damaged input
        print(f"bench: NOT COMPARABLE, exit code {process.returncode}: {' '.join(map(str, command))}", file=sys.stderr)
    return time.monotonic() - start, peak, usage.ru_utime + usage.ru_stime


def measure(name: str, ours: list[str], peer_name: str, peer: list[str], runs: int) -> float:
    """Prints the ratios; returns our wall seconds."""
    pairs = []
    run(ours), run(peer)  # warm caches for both
    for _ in range(runs):
        pairs.append((run(ours), run(peer)))
    seconds = [statistics.median(p[i][0] for p in pairs) for i in (0, 1)]
    memory = [statistics.median(p[i][1] for p in pairs) for i in (0, 1)]
    cpu = [statistics.median(p[i][2] for p in pairs) for i in (0, 1)]
    ratio = statistics.median(a[0] / b[0] for a, b in pairs)
    print(f"{name}: {seconds[0]:.3f} s, {cpu[0]:.2f} s cpu, {memory[0] / 1e6:.0f} MB   "
          f"{peer_name}: {seconds[1]:.3f} s, {cpu[1]:.2f} s cpu, {memory[1] / 1e6:.0f} MB")
    print(f"    time ratio {ratio:.3f}   cpu ratio {cpu[0] / cpu[1] if cpu[1] else float('nan'):.3f}   "
          f"anonymous memory ratio {memory[0] / memory[1] if memory[1] else float('nan'):.3f}   ({runs} pairs, load {os.getloadavg()[0]:.1f})")
    return seconds[0]


def forced_collection(cores: pathlib.Path) -> float | None:
    """Wall seconds of Go's own forced collection of the big core's heap, made anew: the runtime's word (gctrace)."""
    arguments = "-goroutines 100000 -objects 15000000 -map 600000".split()  # as in corpora/tools/bench_cores.sh
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run([str(cores / "exe"), *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              env={"GODEBUG": "gctrace=1"}, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    # gc 9 @12.3s 5%: 0.04+4300+0.01 ms clock, … (forced)
    clocks = re.findall(r"^gc .*: ([0-9.+]+) ms clock.*\(forced\)", made.stderr, re.M)
    return sum(map(float, clocks[-1].split("+"))) / 1000 if clocks else None


def heap(incident: str, cores: pathlib.Path, exe: str, runs: int) -> None:
    """heap and the whole analyze beside viewcore and beside the collector of the very process, in turn; one worker beside two; growth."""
    big = str(cores / "big" / "core")
    ours = {name: [incident, name, big, exe] for name in ("heap", "analyze")}
    rows: dict[str, list[tuple[float, int, float]]] = {name: [] for name in (*ours, "viewcore histogram", "heap --jobs 1")}
    collections: list[float] = []
    viewcore = shutil.which("viewcore") or os.environ.get("VIEWCORE")
    if not viewcore:
        print("bench: viewcore is not installed (go install golang.org/x/debug/cmd/viewcore@latest)", file=sys.stderr)
    run(ours["heap"])  # the core into the page cache
    for _ in range(runs):
        for name, command in ours.items():
            rows[name].append(run(command))
        rows["heap --jobs 1"].append(run([*ours["heap"], "--jobs", "1"]))
        if viewcore:
            rows["viewcore histogram"].append(run([viewcore, big, "--exe", exe, "histogram"]))
        if (seconds := forced_collection(cores)) is not None:
            collections.append(seconds)
    middle = {name: [statistics.median(row[i] for row in found) for i in range(3)] for name, found in rows.items() if found}
    print(f"the heap of the big core, {runs} rounds in turn, load {os.getloadavg()[0]:.1f}")
    print(f"    {'':20} {'wall':>9} {'cpu':>9} {'RssAnon':>9}   of viewcore: {'wall':>6} {'RssAnon':>8}   {'of Go GC':>9}")
    peer = middle.get("viewcore histogram")
    collection = statistics.median(collections) if collections else None
    for name, (wall, memory, cpu) in middle.items():
        line = f"    {name:20} {wall:7.2f} s {cpu:7.2f} s {memory / 1e6:6.0f} MB"
        if peer and peer is not middle[name]:
            line += f"   {'':12} {wall / peer[0]:6.3f} {memory / peer[1]:8.3f}"
            if collection:
                line += f"   {wall / collection:9.2f}"
        print(line)
    if collection:
        print(f"    {'Go forced collection':20} {collection:7.2f} s")
    print("    floors: 0.200 of its wall time, 0.250 of its memory, 1.00 of the collection; goals: 0.100, 0.125, 0.50")
    print(f"    one worker beside two: {middle['heap --jobs 1'][0] / middle['heap'][0]:.2f} times (floor 1.6)")
    for command in ours:
        linear(incident, [(f"10^{n}", str(cores / f"o{n}" / "core"), exe) for n in (5, 6, 7)], [command])


def goroutines(incident: str, cores: pathlib.Path, exe: str, small: pathlib.Path, runs: int) -> None:
    """Stacks beside delve, the crash beside eu-stack on a small core, locks beside stacks; growth."""
    core = str(cores / "big" / "core")
    dlv = shutil.which("dlv") or os.environ.get("DLV")
    if dlv:
        with tempfile.NamedTemporaryFile("w", suffix=".dlv") as script:
            script.write("goroutines -t 50\nexit\n")
            script.flush()
            measure("goroutines --stacks --format json", [incident, "goroutines", core, exe, "--stacks", "--format", "json"],
                    "dlv goroutines -t",
                    [dlv, "core", exe, core, "--check-go-version=false", "--init", script.name, "--allow-non-terminal-interactive=true"], runs)
    else:
        print("bench: goroutines SKIPPED, delve is not installed (go install github.com/go-delve/delve/cmd/dlv@latest)", file=sys.stderr)
    small_exe = str(small.parent / ("exe." + small.name.split(".")[0]))
    if shutil.which("eu-stack"):
        measure("crash, big core", [incident, "crash", core, exe],
                "eu-stack, small core", ["eu-stack", "--core", str(small / "core"), "-e", small_exe], max(runs, 5))
    else:
        print("bench: crash SKIPPED, eu-stack is not installed (apt install elfutils)", file=sys.stderr)
    locks = str(cores / "locks" / "core")
    measure("locks, 100,000 blocked on 50,000", [incident, "locks", locks, exe, "--format", "json"],
            "goroutines --stacks of the same", [incident, "goroutines", locks, exe, "--stacks", "--format", "json"], runs)
    linear(incident, [(f"10^{n}", str(cores / f"g{n}" / "core"), exe) for n in (3, 4, 5)], ["goroutines", "--stacks", "--format", "json"])


def native(incident: str, cores: pathlib.Path, corpus: pathlib.Path, runs: int) -> None:
    """C: a crash beside gdb's backtrace, and the malloc heap beside one pass over the same bytes."""
    small, exe = corpus / "O2.uaf_crash" / "core", corpus / "exe.O2"
    if shutil.which("gdb"):
        measure("crash, small C core", [incident, "crash", str(small), str(exe)],
                "gdb -batch -ex bt", ["gdb", "-nx", "-batch", "-ex", "bt", str(exe), str(small)], max(runs, 5))
    else:
        print("bench: C crash SKIPPED, gdb is not installed (apt install gdb)", file=sys.stderr)
    if not (shutil.which("gcc") and shutil.which("gcore")):
        print("bench: malloc heap SKIPPED, it needs gcc and gcore (apt install gcc gdb)", file=sys.stderr)
        return
    folder = cores / "heap"
    folder.mkdir(parents=True, exist_ok=True)
    source = ROOT / "corpora" / "bench"
    program, core, sweep = folder / "exe", folder / "core", folder / "pass"
    subprocess.run(["gcc", "-O2", "-o", program, source / "heap.c"], check=True)
    subprocess.run(["gcc", "-O2", "-o", sweep, source / "pass.c"], check=True)
    if not core.exists():
        target = subprocess.Popen([program, "512"], stdout=subprocess.PIPE)
        target.stdout.readline()
        subprocess.run(["gcore", "-o", folder / "taken", str(target.pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        target.kill()
        (folder / f"taken.{target.pid}").rename(core)
    measure("malloc's heap, 512 MB (locate of one address)", [incident, "locate", str(core), "0x0", str(program)],
            "one pass over the same bytes", [str(sweep), str(core)], runs)


def triage(incident: str, corpora: pathlib.Path, runs: int) -> None:
    """Many cores: two children at a time beside one."""
    cores = [str(c) for mode in ("orphan", "nilderef", "heap", "healthy") for c in sorted(corpora.glob(f"go1.*/*.{mode}/core"))]
    command = [incident, "triage", *cores, "--format", "json", "--jobs"]
    measure(f"triage of {len(cores)} cores, --jobs 2", [*command, "2"], "--jobs 1", [*command, "1"], runs)


def linear(incident: str, cores: list[tuple[str, str, str]], what: list[str]) -> None:
    print(f"scaling of: {' '.join(what)}")
    for label, core, exe in cores:
        seconds = statistics.median(run([incident, *what[:1], core, exe, *what[1:]])[0] for _ in range(3))
        print(f"    {label:>8} {seconds:.3f} s")


def take_cores(cores: pathlib.Path) -> bool:
    """The big cores, 3 GB of disk; made once. False, and said, where they cannot be."""
    if (cores / "locks" / "core").exists():  # the last that is taken
        return True
    if not shutil.which("go"):
        why = "no Go toolchain on PATH (apt install golang) to build corpora/bench with"
    elif subprocess.run([ROOT / "corpora/tools/bench_cores.sh", cores]).returncode != 0:
        why = "corpora/tools/bench_cores.sh failed, see above"
    else:
        return True
    print(f"bench: goroutines and heap SKIPPED, there are no big cores: {why}", file=sys.stderr)
    return False


def main() -> int:
    parts = ("native", "triage", "goroutines", "heap")
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", choices=parts, help="only this part; native and triage need no big cores")
    arguments.add_argument("--runs", type=int, default=3, help="rounds (%(default)s)")
    arguments.add_argument("--incident", default=ROOT / "build/incident", help="the command to measure")
    arguments.add_argument("--cores", type=pathlib.Path, default=ROOT / "build/bench", help="the big cores: taken into this folder when they are not there")
    options = arguments.parse_args()
    corpora = ROOT / "build/corpora"
    subprocess.run([ROOT / "corpora/tools/unpack.sh", corpora, "go1.25", "native-glibc-2.36"], check=True, stdout=subprocess.DEVNULL)
    if shutil.which("go"):  # where `go install` puts delve and viewcore
        os.environ["PATH"] += ":" + subprocess.run(["go", "env", "GOPATH"], capture_output=True, text=True).stdout.strip() + "/bin"
    ours, cores, wanted = str(options.incident), options.cores, (options.only,) if options.only else parts
    exe = str(cores / "exe")
    if "native" in wanted:
        native(ours, cores, corpora / "native-glibc-2.36", options.runs)
    if "triage" in wanted:
        triage(ours, corpora, options.runs)
    if not {"goroutines", "heap"}.isdisjoint(wanted) and take_cores(cores):
        if "goroutines" in wanted:
            goroutines(ours, cores, exe, corpora / "go1.25" / "dwarf.nilderef", options.runs)
        if "heap" in wanted:
            heap(ours, cores, exe, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
