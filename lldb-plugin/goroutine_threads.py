# Shows parked goroutines as LLDB threads. Written by the incident plugin next to the JSON that `incident goroutines` printed:
# all knowledge of the Go runtime stays in the engine. LLDB loads it as an operating-system plugin.
# Traps: a thread that has a `register_data_addr` is read from that address; None from get_register_data ends LLDB.
# And one of LLDB's unwinder: Go's .debug_frame never says where rbp is saved, so LLDB carries rbp unchanged from frame to frame, but for a
# caller whose code begins with `push rbp; mov rbp, rsp` (runtime.chanrecv1, say) it believes rbp and walks in circles. Such a goroutine
# gets the rbp of the first such caller; without .debug_frame LLDB follows the rbp chain and needs the innermost frame's own.
import json
import os
import struct

import lldb

TID_BASE = 1_000_000_000_000  # tids of goroutines start here, so that they never meet a kernel's
GENERAL = {"pc": "rip", "sp": "rsp", "fp": "rbp"}
NAMES = ["rax", "rbx", "rcx", "rdx", "rdi", "rsi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
         "cs", "fs", "gs", "ss", "ds", "es"]
DWARF = {"rax": 0, "rdx": 1, "rcx": 2, "rbx": 3, "rsi": 4, "rdi": 5, "rbp": 6, "rsp": 7, "rip": 16,
         **{f"r{n}": n for n in range(8, 16)}}


def frame_base(frames):
    """rbp of the first of these frames: a Go frame saves its caller's rbp just below the return address, and rbp points there.
    A leaf without a frame (cfa = sp + 8) keeps its caller's."""
    for frame in frames:
        if frame["sp"] and frame["cfa"]:
            sp, cfa = int(frame["sp"], 16), int(frame["cfa"], 16)
            if cfa - sp > 8:
                return cfa - 16
    return 0


class OperatingSystemPlugIn:
    def __init__(self, process):
        self.process = process
        self.threads = []
        self.stacks = {}
        self.believed = {}  # pc of a caller -> does LLDB believe rbp there?
        with open(os.path.splitext(__file__)[0] + ".json", encoding="utf-8") as file:
            goroutines = json.load(file)["goroutines"]
        for g in goroutines:
            frames = g["frames"] or []
            if g["thread"] is not None or not frames or not frames[0]["sp"]:
                continue  # it runs: its thread is in the list already; or nothing is known of its stack
            tid = TID_BASE + g["id"]
            self.threads.append({"tid": tid, "name": f"goroutine {g['id']}", "queue": g["wait_reason"] or g["status"] or "",
                                 "state": "stopped", "stop_reason": "none"})
            self.stacks[tid] = [f for f in frames if not f["inlined"]]

    def get_thread_info(self):
        return self.threads

    def get_register_info(self):
        registers = []
        for index, name in enumerate(NAMES):
            one = {"name": name, "bitsize": 64, "offset": 8 * index, "encoding": "uint", "format": "hex", "set": 0}
            if name in DWARF:
                one["gcc"] = one["dwarf"] = DWARF[name]
            for generic, real in GENERAL.items():
                if real == name:
                    one["generic"] = generic
            registers.append(one)
        return {"sets": ["General Purpose Registers"], "registers": registers}

    def believes_rbp(self, pc):
        if pc not in self.believed:
            target = self.process.GetTarget()
            symbol = target.ResolveLoadAddress(pc - 1).GetSymbol()
            code = target.ReadMemory(symbol.GetStartAddress(), 4, lldb.SBError()) if symbol.IsValid() else None
            self.believed[pc] = code == b"\x55\x48\x89\xe5"
        return self.believed[pc]

    def has_debug_frame(self, pc):
        return self.process.GetTarget().ResolveLoadAddress(pc).GetModule().FindSection(".debug_frame").IsValid()

    def get_register_data(self, tid):
        stack = self.stacks.get(tid)
        values = {}
        if stack:
            pc = int(stack[0]["pc"], 16)
            base = frame_base(stack)
            if self.has_debug_frame(pc):
                for depth, frame in enumerate(stack[1:], 1):
                    if self.believes_rbp(int(frame["pc"], 16)):
                        base = frame_base(stack[depth:])
                        break
            values = {"rip": pc, "rsp": int(stack[0]["sp"], 16), "rbp": base}
        return struct.pack(f"<{len(NAMES)}Q", *(values.get(name, 0) for name in NAMES))
