"""Goroutines and their stacks against the program's own runtime.Stack of all goroutines."""
import re

import pytest
from support import Case, Truth, report

Frame = tuple[str, str, int]


ELIDED = ("elided", "", 0)


def printed_stacks(truth: Truth) -> dict[int, tuple[str, list[Frame]]]:
    """goroutine id → (state, frames) of the stacks block; ELIDED stands where the runtime left frames out."""
    stacks = {}
    for block in re.split(r"\n\s*\n", truth.stacks):
        head = re.match(r"goroutine (\d+) \[(.*?)\]:\n", block)
        if not head:
            continue
        frames: list[Frame] = []
        for f, file, line, elided in re.findall(r"^(?!created by )(\S.*)\([^\n]*\)\n\t(\S+):(\d+)|^(\.\.\..*elided.*)$", block, re.M):
            frames.append(ELIDED if elided else (f, file, int(line)))
        stacks[int(head[1])] = (head[2], frames)
    return stacks


def frames_of(goroutine: dict) -> list[Frame]:
    return [(f["function"], f["file"], f["line"]) for f in goroutine["frames"] if f["kind"] == "go" and not f.get("runtime_internal")]


def equals_printed(ours: list[Frame], printed: list[Frame], minor: int) -> bool:
    """The runtime prints 100 frames of a deep stack: up to Go 1.20 the innermost, since then 50 from either end."""
    if minor <= 20 and ELIDED not in printed and 90 <= len(printed) <= 100:
        return ours[:len(printed)] == printed  # it counts its own hidden frames too, and then says nothing
    if ELIDED not in printed:
        return ours == printed
    at = printed.index(ELIDED)
    head, tail = printed[:at], printed[at + 1:]
    return len(ours) > len(head) + len(tail) and ours[:len(head)] == head and (not tail or ours[-len(tail):] == tail)


@pytest.mark.cores(mode="waits")
def test_frames_equal_the_runtimes(case: Case) -> None:
    truth = printed_stacks(case.truth())
    ours = {g["id"]: g for g in report("goroutines", case.core, case.exe, "--stacks")["goroutines"]}
    assert len(truth) > 60
    missing = set(truth) - set(ours)
    assert not missing
    writer = {i for i, (state, _) in truth.items() if state.startswith("running")}
    busy = {i for i, (state, _) in truth.items() if state.startswith("runnable")}
    wrong = {}
    for goid, (state, frames) in truth.items():
        if goid in writer or goid in busy:
            continue  # the writer goes on after it printed; busy loops move
        got = frames_of(ours[goid])
        if not equals_printed(got, frames, case.minor):
            wrong[goid] = (state, got, frames)
    assert not wrong, f"{len(wrong)} of {len(truth)} differ, first: {next(iter(wrong.items()))}"


@pytest.mark.cores(mode="waits")
def test_wait_reasons_and_objects(case: Case) -> None:
    ours = {g["id"]: g for g in report("goroutines", case.core, case.exe, "--stacks")["goroutines"]}
    checked = 0
    for goid, fields in case.truth().goroutines().items():
        reasons = {r.strip() for r in re.split(r"[|;]", fields.get("want", "").split(",")[0])}
        if goid not in ours or not reasons or not ours[goid]["wait_reason"]:
            continue
        if any(r in ("chan receive", "chan send", "select", "semacquire", "sync.Mutex.Lock", "sleep", "IO wait") for r in reasons):
            assert ours[goid]["wait_reason"].split(" (")[0] in {r.split(" (")[0] for r in reasons}, (goid, fields)
            checked += 1
    assert checked > 30


def test_stripped_and_unstripped_agree() -> None:
    from support import cases
    for stripped in cases(mode="waits", build="stripped"):
        plain = Case(stripped.version, "dwarf", "waits")
        shapes = []
        for case in (stripped, plain):
            listed = report("goroutines", case.core, case.exe, "--stacks")["goroutines"]
            names = {int(i): f["name"] for i, f in case.truth().goroutines().items()}
            shapes.append(sorted((names[g["id"]], [f[0] for f in frames_of(g)]) for g in listed
                                 if g["id"] in names and g["wait_reason"] in ("chan receive", "select", "sleep")))
        assert shapes[0] == shapes[1], stripped
