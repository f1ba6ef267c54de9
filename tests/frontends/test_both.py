"""What gdb and lldb have in common: each prints what the command prints, and its page of the documentation shows it."""
import re

import drive
import pytest
import support

DEBUGGERS = {"gdb": drive.gdb, "lldb": drive.lldb}


@pytest.fixture(params=DEBUGGERS)
def debugger(request):
    if not getattr(drive, request.param.upper()):
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.mark.cores(mode="nilderef", build="dwarf")
def test_analyze_prints_the_commands_report(case, debugger):
    same_report(case, debugger, "analyze")


@pytest.mark.cores(mode="nilderef", build="stripped")
def test_analyze_prints_the_commands_report_without_dwarf(case, debugger):
    same_report(case, debugger, "analyze")


@pytest.mark.parametrize("verb", ["crash", "goroutines --stacks", "goroutines --group", "goroutine 1", "threads", "maps",
                                  "locate 0xc000000000", "read 0xc000000000 4", "goroutines --format json"])
def test_every_verb_prints_what_the_command_prints(one, debugger, verb):
    same_report(one, debugger, verb)


def same_report(case, debugger, line):
    verb, *rest = line.split()
    operands = [w for w in rest if not w.startswith("-")] if verb in ("goroutine", "locate", "read") else []
    wanted = support.incident(verb, case.core, *operands, case.exe, *rest[len(operands):])
    run = DEBUGGERS[debugger](case, f"incident {line}")
    assert wanted.code in (0, 1, 3) and len(wanted.out) > 100, wanted.err
    assert run.code == 0, run.err
    assert wanted.out.rstrip() in run.out
    assert "\x1b" not in run.out


def test_the_page_shows_what_is_printed(debugger):
    """After each prompt of its first example stands what the debugger prints for the bundled core."""
    page = (support.ROOT / "docs" / f"{debugger}.md").read_text()
    shown = re.search(r"```\n(.*?)```", page, re.S)[1].splitlines()
    prompt = f"({debugger}) "
    loading = ("source ", "plugin load ", "target create ")  # drive does that
    commands = [c for line in shown if line.startswith(prompt) and not (c := line.removeprefix(prompt)).startswith(loading)]
    case = next(c for c in support.cases(mode="waits", build="dwarf") if c.version == "1.25")
    printed = DEBUGGERS[debugger](case, *commands).out.splitlines()
    lines = [line for line in shown if line and not line.startswith((prompt, "$ ", "Core file ")) and line != "..."]
    assert len(commands) > 3 and len(lines) > 10
    assert [line for line in lines if line not in printed] == []
