#!/usr/bin/env python3
"""Backtraces beside gdb's: function names and their count, for every thread of every core of a corpus.

    corpora/tools/compare_gdb.py /srv/corpora/native/glibc-2.36 [--builds O0,O2] [--modes uaf_hold] [--bin build/incident] [-v]
    corpora/tools/compare_gdb.py /srv/corpora/cgo/go1.22

One line per build. `equal`: the same names, as often; an unknown function ("??" in gdb) compares as unknown, since a stripped program has
few names. `alias`: equal but for functions that have several names at one address. Where the walks part, ours is `shown right` only when

* gdb's frame there cannot be one: its pc is no code, or no call stands before it (`bad pc`); or the last common function is one in which
  the Go runtime changes stacks, which gdb's CFI knows nothing of (`switch`); or gdb ends although a call stands before our next pc (`ends`), and
* in the rest of ours every pc follows a call instruction, direct calls lead to the function of the frame above (or to one that jumps there), sp rises but where
  the stack changes (after such a function or a signal's frame), none was found by scan, and the last is where threads and goroutines begin.

In the programs of `chain_crash` and `chain_hold` a return address was overwritten: there is no right answer below it, and no frame found by scan is shown right. They are
counted as `overwritten` when the frames up to the overwritten word are the same and gdb's next pc is that word.

Parameters, template arguments and suffixes of clones are left out of names. Frames that gdb infers from debug data (tail calls: nothing of them is
on the stack) are left out too, and counted.
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
# What begins threads and goroutines: nothing is left above it.
STARTS = {"_start", "clone", "clone3", "__clone", "__clone3", "runtime.goexit", "runtime.rt0_go", "runtime.mstart"}
# Functions in which the Go runtime leaves one stack for another (src/runtime/asm_amd64.s).
SWITCHES = {"runtime.mcall", "runtime.systemstack", "runtime.asmcgocall", "runtime.morestack", "runtime.cgocallback", "crosscall2", "runtime.rt0_go",
            "runtime.sigreturn__sigaction", "<signal>"}
RESTORERS = {"__restore_rt", "runtime.sigreturn__sigaction"}


def plain(name):
    """Only what both write the same way."""
    name = re.sub(r"\(anonymous namespace\)", "{anonymous}", name or "??")
    name = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", name))
    name = re.split(r"\(", name)[0] if not name.startswith("runtime.(") and ".(" not in name else name
    name = re.sub(r"\.(constprop|isra|part|cold)\.?\d*|\.lto_priv\.\d+|\[clone.*", "", name)
    name = re.sub(r"\.abi0$|\.abiinternal$", "", name)
    name = re.sub(r"^__GI_+|^__libc_(?=free|malloc|calloc|realloc)", "", name.strip())
    return name or "??"


# Runs in gdb: its own frames, and what it knows about the pcs of ours (bytes before them, where a direct call leads).
WALK = r"""
python
import json
def before(pc):
    try:
        return bytes(gdb.selected_inferior().read_memory(pc - 7, 7)).hex()
    except (gdb.MemoryError, OverflowError):
        return None
def symbol(pc):
    try:
        text = gdb.execute("info symbol %d" % (pc % 2**64), to_string=True)
    except gdb.error:
        return ""
    return "" if text.startswith("No symbol") else text.split(" in section")[0].split(" + ")[0].strip()
def jumps(at):
    names = set()
    try:
        for line in gdb.selected_inferior().architecture().disassemble(at, count=40):
            words = line["asm"].split()
            if words[0] == "jmp" and len(words) > 1 and words[1].startswith("0x"):
                names.add(symbol(int(words[1], 16)))
            if words[0] in ("ret", "jmp"):
                break
    except (gdb.MemoryError, gdb.error):
        pass
    return sorted(names)
out = {"threads": {}, "pcs": {}}
pcs = set(json.load(open(PCS)))
for t in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
    t.switch()
    frames = out["threads"][t.ptid[1] or t.ptid[0]] = []
    f = gdb.newest_frame()
    while f is not None and len(frames) < 5000:
        frames.append([f.type(), f.name() or "??", f.pc()])
        pcs.add(f.pc())
        try:
            f = f.older()
        except gdb.error as e:
            f = None
for pc in pcs:
    code = before(pc)
    target, tails = None, []
    if code and code[4:6] == "e8":
        called = (pc + int.from_bytes(bytes.fromhex(code[6:14]), "little", signed=True)) % 2**64
        target, tails = symbol(called), jumps(called)
    out["pcs"][pc] = [code, target, symbol(pc - 1), tails]
json.dump(out, open(OUT, "w"))
end
"""


def by_gdb(exe, core, pcs):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "pcs").write_text(json.dumps(sorted(pcs)))
        (folder / "walk.gdb").write_text(WALK.replace("PCS", repr(str(folder / "pcs"))).replace("OUT", repr(str(folder / "out"))))
        subprocess.run(["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set backtrace past-main on", "-x", folder / "walk.gdb", exe, core],
                       capture_output=True, timeout=300)
        told = json.loads((folder / "out").read_text())
    return {int(k): v for k, v in told["threads"].items()}, {int(k): v for k, v in told["pcs"].items()}


def by_us(binary, exe, core):
    out = subprocess.run([binary, "threads", core, exe, "--format", "json"], capture_output=True, timeout=300).stdout
    return {t["tid"]: t["frames"] for t in json.loads(out)["threads"]}


def names_by_address(exe):
    """Names that share an address: what either may call it."""
    by = collections.defaultdict(set)
    for line in subprocess.run(["nm", exe], capture_output=True, text=True).stdout.splitlines():
        parts = line.split(" ", 2)
        if len(parts) == 3 and parts[1] in "tTwWiI":
            by[parts[0]].add(plain(parts[2]))
    return [names for names in by.values() if len(names) > 1]


def follows_call(code):
    """Is the instruction that ends at the pc a call: e8 rel32, or ff /2 with any addressing?"""
    if not code:
        return False
    raw = bytes.fromhex(code)
    if raw[2] == 0xE8:
        return True
    for length in range(2, 8):
        at = 7 - length
        if raw[at] == 0xFF and (raw[at + 1] >> 3) & 7 == 2:
            mod, rm = raw[at + 1] >> 6, raw[at + 1] & 7
            want = 2 + (1 if rm == 4 and mod != 3 else 0) + {0: 4 if rm == 5 else 0, 1: 1, 2: 4, 3: 0}[mod]
            if want == length:
                return True
    return False


class Judge:
    def __init__(self, exe, aliases, pcs):
        self.aliases, self.pcs = aliases, pcs
        with open(exe, "rb") as elf:
            self.entry = int.from_bytes(elf.read(32)[24:], "little")

    def same(self, a, b):
        return a == b or "??" in (a, b)

    def alias(self, a, b):
        return self.same(a, b) or any(a in names and b in names for names in self.aliases)

    def is_return(self, pc):
        return follows_call(self.pcs.get(pc, [None])[0])

    def verdict(self, theirs, ours, mode):
        """theirs: (name, pc); ours: frames of the JSON, names made plain."""
        a, b = [n for n, _ in theirs], [f["name"] for f in ours]
        if len(a) == len(b) and all(map(self.same, a, b)):
            return "equal", ""
        if len(a) == len(b) and all(map(self.alias, a, b)):
            return "alias", ""
        n = 0
        while n < min(len(a), len(b)) and self.alias(a[n], b[n]) and theirs[n][1] == ours[n]["at"]:
            n += 1
        reason = self.gdb_is_wrong(theirs, ours, n)
        if reason is None:
            return ("gdb stops early" if n == len(a) else "ours stops early" if n == len(b) else "differ"), ""
        objection = self.objection(ours, n)
        if not objection:
            return "shown right", reason
        if mode in ("chain_crash", "chain_hold") and reason == "bad pc":
            return "overwritten", objection
        return ("gdb stops early" if n == len(a) else "ours stops early" if n == len(b) else "differ"), f"gdb: {reason}; ours: {objection}"

    def gdb_is_wrong(self, theirs, ours, n):
        if n == len(theirs):
            return "ends" if n < len(ours) and self.is_return(ours[n]["at"]) else None
        if n > 0 and ours[n - 1]["name"] in SWITCHES:
            return "switch"
        return None if self.is_return(theirs[n][1]) else "bad pc"

    def objection(self, ours, common):
        """Why the frames of ours that gdb does not have are not shown right; empty: they are."""
        above = ours[common - 1] if common else None
        for frame in ours[common:]:
            if frame["trust"] == "scan":
                return f"{frame['name']} was found by scan"
            if above is not None and frame["at"] == above["at"] and frame["sp"] == above["sp"]:
                above = frame  # inlined
                continue
            if above is not None:
                interrupted = above["kind"] == "signal" or above["name"] in ("runtime.asyncPreempt", "runtime.sigpanic")
                # The runtime puts goexit+1 under the first function of a goroutine (runtime.newproc1): nobody calls it.
                if frame["kind"] != "signal" and not interrupted and frame["name"] != "runtime.goexit":
                    code, target, _, tails = self.pcs.get(frame["at"], [None, None, None, []])
                    if not follows_call(code):
                        return f"no call before {frame['name']}"
                    called = plain(target) if target else ""
                    if called and above["name"] not in SWITCHES and not any(self.leads_to(plain(c), above) for c in [target, *tails]):
                        return f"{frame['name']} calls {called}, not {above['name']}"
                switched = {above["name"], frame["name"]} & SWITCHES  # asmcgocall stands where the goroutine called it
                if int(frame["sp"], 16) <= int(above["sp"], 16) and not switched and not interrupted:
                    return f"sp falls at {frame['name']}"
            above = frame
        if not ours:
            return "has no frames"
        # A stripped program's _start has no name: it is where its ELF header says that it begins.
        begins = self.entry <= int(ours[-1]["module_offset"] or "0", 16) < self.entry + 64
        return "" if ours[-1]["name"] in STARTS or begins else f"ends in {ours[-1]['name']}"

    def leads_to(self, called, above):
        own = plain(self.pcs.get(above["at"], [None, None, ""])[2])
        return self.alias(called, above["name"]) or self.alias(called, own) or "@plt" in called


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folders", nargs="+", type=pathlib.Path)
    p.add_argument("--bin", default=ROOT / "build" / "incident")
    p.add_argument("--builds", default="")
    p.add_argument("--modes", default="")
    p.add_argument("-v", action="store_true")
    a = p.parse_args()
    columns = ["equal", "alias", "shown right", "overwritten", "gdb stops early", "ours stops early", "differ"]
    table, reasons = collections.OrderedDict(), collections.Counter()
    for folder in a.folders:
        aliases = {}
        for core in sorted(folder.glob("*.*/core")):
            build, mode = core.parent.name.split(".", 1)
            if (a.builds and build not in a.builds.split(",")) or (a.modes and mode not in a.modes.split(",")):
                continue
            exe = folder / f"exe.{build}"
            if build not in aliases:
                aliases[build] = names_by_address(exe)
            ours = by_us(a.bin, exe, core)
            for frames in ours.values():
                for f in frames:
                    f["at"] = int(f["pc"], 16)
                    f["name"] = "<signal>" if f["kind"] == "signal" else plain(f["function"])
            theirs, pcs = by_gdb(exe, core, {f["at"] for frames in ours.values() for f in frames})
            judge = Judge(exe, aliases[build], pcs)
            row = table.setdefault((folder.name, build), collections.Counter())
            for tid in sorted(theirs):
                # gdb.TAILCALL_FRAME is 3, gdb.SIGTRAMP_FRAME 4: its `<signal handler called>` is the kernel's frame.
                row["inferred"] += sum(kind == 3 for kind, _, _ in theirs[tid])
                frames = [("<signal>" if kind == 4 or plain(name) in RESTORERS else plain(name), pc) for kind, name, pc in theirs[tid] if kind != 3]
                verdict, why = judge.verdict(frames, ours.get(tid, []), mode)
                row[verdict] += 1
                if verdict == "shown right":
                    reasons[folder.name, why] += 1
                if a.v and verdict not in ("equal", "alias"):
                    print(f"{folder.name} {core.parent.name} thread {tid}: {verdict} ({why})\n    gdb  {' < '.join(n for n, _ in frames)}\n"
                          f"    ours {' < '.join(f['name'] for f in ours.get(tid, [])) or '(no such thread)'}", file=sys.stderr)
    print(f"| corpus | build | threads | {' | '.join(columns)} | frames that gdb infers |\n|{'---|' * (len(columns) + 4)}")
    for (folder, build), r in table.items():
        print(f"| {folder} | {build} | {sum(r.values()) - r['inferred']} | {' | '.join(str(r[c]) for c in columns)} | {r['inferred']} |")
    for (folder, why), count in sorted(reasons.items()):
        print(f"{folder}: shown right, {why}: {count}")


if __name__ == "__main__":
    main()
