#!/usr/bin/env python3
"""check.py DIR...: compares each DIR/truth.txt with the memory in DIR/core (maps, slices, channels, strings, locks).

Knows nothing of any runtime tables: only object headers that are the same in Go 1.16 to 1.27.
Exit code 1 when anything differs.
"""
import os
import re
import struct
import sys


def reader(path):
    f = open(path, "rb")
    head = f.read(64)
    (phoff,), (n,) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<H", head, 56)
    f.seek(phoff)
    segs = [struct.unpack("<IIQQQQQQ", f.read(56)) for _ in range(n)]
    segs = [(s[3], s[5], s[2]) for s in segs if s[0] == 1]  # address, bytes in the file, offset
    if any(off + size > os.path.getsize(path) for _, size, off in segs):
        raise ValueError("truncated core")

    def read(addr, size, fmt):
        for va, have, off in segs:
            if va <= addr and addr + size <= va + have:
                f.seek(off + addr - va)
                return struct.unpack(fmt, f.read(size))[0]
        raise KeyError(hex(addr))

    return lambda a: read(a, 8, "<Q"), lambda a: read(a, 4, "<I")


def check(directory):
    text = open(os.path.join(directory, "truth.txt")).read()
    w8, w4 = reader(os.path.join(directory, "core"))
    good, wrong = 0, []
    for m in re.finditer(r'^object name=(\S+) type="?([^"]*?)"? addr=(0x[0-9a-f]+) ?(.*)$', text, re.M):
        name, kind, addr, rest = m[1], m[2], int(m[3], 16), m[4]
        kv = {k: int(v, 0) for k, v in re.findall(r"([\w-]+)=(0x[0-9a-f]+|-?\d+)", rest)}
        try:
            if kind.startswith("map[") and addr and "len" in kv:
                ok = w8(addr) == kv["len"] and ("field" not in kv or w8(kv["field"]) == addr)
            elif kind.startswith("[]") and "field" in kv:
                ok = [w8(kv["field"] + 8 * i) for i in range(3)] == [addr, kv["len"], kv["cap"]]
            elif kind.startswith("chan") and "cap" in kv:
                ok = (w8(addr), w8(addr + 8)) == (kv["len"], kv["cap"])
            elif kind == "string" and "field" in kv:
                ok = (w8(kv["field"]), w8(kv["field"] + 8)) == (addr, kv["len"])
            elif kind == "sync.Mutex" and "state" in kv:  # "word" is the state at the very end
                ok = w4(addr) == kv.get("word", kv["state"])
            elif kind == "sync.RWMutex" and "readerCount" in kv:
                ok = (w4(addr), w4(addr + 16), w4(addr + 20)) == (kv["w"], kv["readerCount"] & 0xFFFFFFFF, kv["readerWait"])
            elif kind == "sync.Mutex" and "waiters" in kv:
                ok = w4(addr) == 1 | kv["waiters"] << 3
            elif kind == "sync.RWMutex":
                ok = w4(addr + 16) >> 31 == 1
            elif kind == "main.codedError":
                ok = w8(addr) == kv["code"]
            elif kind == "main.finalised":
                ok = w8(addr) == kv["id"]
            elif kind == "pthread_mutex_t" and "owner-tid" in kv:
                ok = (w4(addr), w4(addr + 8)) == (2, kv["owner-tid"])
            else:
                continue
        except KeyError as e:
            ok = False
            name += " unmapped " + str(e)
        good += ok
        if not ok:
            wrong.append(name)
    print(directory, good, "objects agree;", "differ: " + ", ".join(wrong) if wrong else "none differs")
    return not wrong


if __name__ == "__main__":
    sys.exit(0 if all([check(d) for d in sys.argv[1:]]) else 1)
