#!/usr/bin/env python3
"""Checks every #include "folder/…" in src/ against the dependency arrows of src/README.md. Exit 1 names each offender."""
import pathlib
import re
import sys

ARROWS = {
    "base": [], "report": ["base"], "core": ["report"], "image": ["core"], "disasm": ["core"],
    "unwind": ["image", "disasm"], "go": ["unwind"], "native": ["unwind"], "process": ["go", "native"],
    "detect": ["process"], "analyze": ["detect"], "triage": ["report"], "cli": ["analyze", "triage"],
    "python": ["analyze", "triage"],
}


def reachable(folder: str) -> set[str]:
    seen, todo = set(), [folder]
    while todo:
        at = todo.pop()
        if at not in seen:
            seen.add(at)
            todo += ARROWS[at]
    return seen


def main() -> int:
    src = pathlib.Path(sys.argv[1])
    bad = []
    for file in sorted(p for p in src.rglob("*") if p.suffix in (".h", ".cpp", ".def")):
        parts = file.relative_to(src).parts
        folder = parts[0] if len(parts) > 1 else "analyze"
        allowed = reachable(folder)
        for number, line in enumerate(file.read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([a-z_]+)[/.]', line)
            if m and m[1] in ARROWS and m[1] not in allowed:
                bad.append(f"{file.relative_to(src)}:{number}: {folder} may not include {m[1]}")
            if m is None and re.match(r'\s*#\s*include\s+<capstone', line) and folder != "disasm":
                bad.append(f"{file.relative_to(src)}:{number}: only disasm includes capstone")
    print("\n".join(bad) if bad else "arrows hold")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
