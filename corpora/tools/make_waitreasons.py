#!/usr/bin/env python3
"""Writes src/go/stacks/waitreasons.inc: the words of runtime.waitReasonStrings, by number, of each Go minor version.

    make_waitreasons.py GOROOT-1.16 GOROOT-1.17 … > src/go/stacks/waitreasons.inc

Each argument is a Go tree whose src/runtime/runtime2.go is read: the constants give the numbers, the strings the words.
Neighbouring versions with equal tables share one."""
import pathlib
import re
import sys


def table(goroot: pathlib.Path) -> list[str]:
    text = (goroot / "src/runtime/runtime2.go").read_text()
    block = re.search(r"const \(\n(\s*waitReasonZero\b.*?)\n\)", text, re.S)[1]
    names = []
    for line in block.splitlines():
        if m := re.match(r"\s*(waitReason\w+|_)\b", line):
            names.append(m[1])
    words = dict(re.findall(r"(waitReason\w+):\s*\"(.*)\",", re.search(r"var waitReasonStrings = .*?\n}", text, re.S)[0]))
    return [words.get(name, "") for name in names]


def main() -> int:
    tables = []
    for argument in sys.argv[1:]:
        root = pathlib.Path(argument)
        version = (root / "VERSION").read_text().split()[0]
        minor = int(re.match(r"go1\.(\d+)", version)[1])
        tables.append((minor, version, table(root)))
    tables.sort()
    print("// Made by corpora/tools/make_waitreasons.py from src/runtime/runtime2.go of " + ", ".join(v for _, v, _ in tables) + ".")
    print("// INCIDENT_WAIT_REASONS(first minor, last minor, words in order of their number)")
    at = 0
    while at < len(tables):
        end = at
        while end + 1 < len(tables) and tables[end + 1][2] == tables[at][2]:
            end += 1
        print(f"INCIDENT_WAIT_REASONS({tables[at][0]}, {tables[end][0]},")
        print(",\n".join(f'    "{word}"' for word in tables[at][2]) + ")")
        at = end + 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
