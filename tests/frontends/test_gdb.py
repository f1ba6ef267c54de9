"""The gdb script in the real gdb, in batch mode, on bundled cores."""
import os
import re
import shutil
import signal
import subprocess
import time

import drive
import pytest
import support
from drive import gdb

pytestmark = pytest.mark.skipif(not drive.GDB, reason="gdb is not installed")


@pytest.mark.cores(mode="nilderef", build="dwarf")
def test_analyze_prints_the_commands_report(case):
    same_report(case, "analyze")


@pytest.mark.cores(mode="nilderef", build="stripped")
def test_analyze_prints_the_commands_report_without_dwarf(case):
    same_report(case, "analyze")


@pytest.mark.parametrize("verb", ["crash", "goroutines --stacks", "goroutines --group", "goroutine 1", "threads", "maps",
                                  "locate 0xc000000000", "read 0xc000000000 4", "goroutines --format json"])
def test_every_verb_prints_what_the_command_prints(one, verb):
    same_report(one, verb)


def same_report(case, line):
    verb, *rest = line.split()
    operands = [w for w in rest if not w.startswith("-")] if verb in ("goroutine", "locate", "read") else []
    wanted = support.incident(verb, case.core, *operands, case.exe, *rest[len(operands):])
    run = gdb(case, f"incident {line}")
    assert wanted.code in (0, 1, 3) and len(wanted.out) > 100, wanted.err
    assert run.code == 0, run.err
    assert wanted.out in run.out
    assert "\x1b" not in run.out


def test_help_and_explain():
    run = gdb(None, "help incident", "incident explain go.mutex.orphaned")
    assert run.code == 0
    for verb in "analyze crash goroutines goroutine thread threads locks heap maps locate read explain".split():
        assert f"incident {verb} -- " in run.out
    assert support.incident("explain", "go.mutex.orphaned").out in run.out


def test_expressions_are_addresses(one):
    assert "stack" in gdb(one, "incident locate $rsp+8").out


# --- a parked goroutine as gdb's stack ------------------------------------------------------------------------------------------

def all_backtraces(case):
    wanted = drive.parked(case)
    commands = []
    for goroutine in wanted:
        commands += [f"incident goroutine {goroutine}", f"echo BT {goroutine}\\n", "bt", "echo END\\n"]
    run = gdb(case, *commands)
    assert run.code == 0, run.err
    shown = {int(g): block for g, block in re.findall(r"^BT (\d+)\n(.*?)^END$", run.out, re.S | re.M)}
    assert shown.keys() == wanted.keys() and len(wanted) > 20
    return wanted, shown


@pytest.mark.cores(mode="waits", build="dwarf", versions=drive.EQUAL)
def test_backtraces_equal_the_engines(case):
    """gdb unfolds inlined calls: names without a pc of their own are compared with the engine's full list."""
    full = {g["id"]: [f["function"] for f in g["frames"] or []]
            for g in support.report("goroutines", case.core, case.exe, "--stacks")["goroutines"]}
    wanted, shown = all_backtraces(case)
    for goroutine in wanted:
        names = names_of(shown[goroutine])
        assert [n for n in names if not drive.WRAPPER.search(n)] == full[goroutine], f"goroutine {goroutine}\n{shown[goroutine]}"


@pytest.mark.cores(mode="waits", build="stripped", versions=drive.EQUAL)
def test_backtraces_equal_the_engines_without_dwarf(case):
    wanted, shown = all_backtraces(case)
    for goroutine, frames in wanted.items():
        pcs = [int(pc, 16) for pc in re.findall(r"^#\d+ +(0x[0-9a-f]+) in ", shown[goroutine], re.M)]
        assert list(zip(pcs, names_of(shown[goroutine]))) == frames, f"goroutine {goroutine}"


def names_of(text: str) -> list[str]:
    """The function of each frame; its arguments begin at ` (`, and a Go name has blanks only between brackets."""
    return [drive.plain(name) for name in re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?((?:[^ \[]|\[[^\]]*\])+) \(", text, re.M)]


def test_locals_up_and_off(one):
    goroutine = next(g for g, f in sorted(drive.parked(one).items()) if any(n.endswith("(*Mutex).lockSlow") for _, n in f))
    run = gdb(one, f"incident goroutine {goroutine}", "echo HERE\\n", "up", "up", "up", "up", "info locals", "info args", "incident goroutine off", "bt 1")
    assert run.code == 0, run.err
    after = run.out.split("HERE")[1]
    assert "(*Mutex).lockSlow" in after and re.search(r"^starving = (true|false)$", after, re.M)
    assert re.search(r"^m = 0x[0-9a-f]+", after, re.M)
    assert "thread's own stack again" in after and re.search(r"^#0 .*runtime\.raise", after, re.M)


# --- failures -------------------------------------------------------------------------------------------------------------------

def goes_on(case, error, *, command="incident analyze", **changes):
    assert gdb(case, command, **changes).code == 1
    run = gdb(case, command, "print 6 * 7", **changes)
    assert run.code == 0 and "= 42" in run.out
    assert re.search(error, run.err), run.err
    assert "Traceback" not in run.err + run.out


def test_child_dies_of_sigsegv(one, fake):
    goes_on(one, r"incident: the child died of signal SIGSEGV", INCIDENT=fake("kill -SEGV $$"))


def test_child_that_never_ends(one, fake):
    begin = time.time()
    goes_on(one, r"killed after 1 seconds", INCIDENT=fake("sleep 60 & sleep 60"), INCIDENT_TIMEOUT="1")
    assert time.time() - begin < 20


def test_child_without_memory(one):
    goes_on(one, r"incident", INCIDENT_MEMORY="1")


def test_no_engine(one):
    goes_on(one, r"incident: the command cannot be started", INCIDENT="/nowhere/incident")


def test_refusal_is_the_commands_own(one, fake):
    goes_on(one, r"incident: not today", INCIDENT=fake("echo 'incident: not today' >&2; exit 2"))


def test_findings_are_no_failure(one, fake):
    for code in (0, 1, 3):
        assert gdb(one, "incident analyze", INCIDENT=fake(drive.answering("report", code))).code == 0

def test_one_child_answers_many_questions(one, fake, tmp_path):
    starts = tmp_path / "starts"
    engine = fake(f"echo started >> {starts}; exec {support.BIN} \"$@\"")
    run = gdb(one, "incident crash", "incident locate 0xc000000000", "incident goroutine 1", INCIDENT=engine)
    assert run.code == 0, run.err
    assert starts.read_text() == "started\n"
    for words in (["crash", one.core], ["locate", one.core, "0xc000000000"], ["goroutine", one.core, "1"]):
        assert support.incident(*words, one.exe).out.rstrip() in run.out


def test_a_child_that_died_between_two_questions_is_started_anew(one, fake, tmp_path):
    starts = tmp_path / "starts"
    engine = fake(f"echo started >> {starts}; read -r question; printf '{{\"code\": 0, \"out\": 6, \"err\": 0}}\\nanswer'; kill -KILL $$")
    run = gdb(one, "incident crash", "shell sleep 0.5", "incident crash", INCIDENT=engine)
    assert run.code == 0, run.err
    assert run.out.count("answer") == 2 and starts.read_text() == "started\n" * 2


def test_a_child_that_talks_nonsense(one, fake):
    goes_on(one, r"does not speak", INCIDENT=fake("echo hello; sleep 60"))


def test_half_an_answer_is_none(one, fake):
    goes_on(one, r"incident", INCIDENT=fake("printf '{\"code\": 0, \"out\": 600, \"err\": 0}\\nhalf'; kill -SEGV $$"))


def test_unknown_goroutine_and_wrong_operands(one):
    goes_on(one, r"999999", command="incident goroutine 999999")
    goes_on(one, r"usage: incident goroutine ID", command="incident goroutine")
    goes_on(one, r"usage: incident locate ADDR", command="incident locate 1 2 3")


def test_no_core():
    goes_on(None, r"no core is open")


def test_ctrl_c_kills_the_child(one, fake, tmp_path):
    pid_file = tmp_path / "pid"
    engine = fake(f"echo $$ > {pid_file}; exec sleep 60")
    with subprocess.Popen([drive.GDB, "-nx", "-q", "-batch", "-ex", f"source {drive.SCRIPT}", "-ex", "incident analyze", "-ex", "print 6 * 7",
                           str(one.exe), str(one.core)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=drive.environment(INCIDENT=engine)) as debugger:
        for _ in range(200):
            if pid_file.exists() and pid_file.read_text().strip():
                break
            time.sleep(0.05)
        child = int(pid_file.read_text())
        debugger.send_signal(signal.SIGINT)
        out, err = debugger.communicate(timeout=20)
    assert "interrupted" in err, err
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_live_process_is_written_to_a_core_first(tmp_path):
    sleep = shutil.which("sleep")
    run = drive.run([drive.GDB, "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", f"source {drive.SCRIPT}", "-ex", "starti",
                     "-ex", "incident threads", "-ex", "kill", "--args", sleep, "60"], TMPDIR=str(tmp_path))
    assert "1 thread" in run.out, run.out + run.err
    assert list(tmp_path.iterdir()) == []
