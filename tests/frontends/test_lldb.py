"""The LLDB plugin in the real lldb, in batch mode, on bundled cores."""
import os
import pty
import re
import signal
import subprocess
import time

import drive
import pytest
import support
from drive import lldb

pytestmark = [pytest.mark.skipif(not drive.LLDB, reason="lldb-19 is not installed"),
              pytest.mark.skipif(not drive.PLUGIN.exists(), reason=f"{drive.PLUGIN} is not built (liblldb-19-dev)")]


def backtraces(text: str) -> dict[int, list[tuple[int, str]]]:
    """Goroutine id -> pc and function of each frame, from `thread backtrace all`."""
    found: dict[int, list[tuple[int, str]]] = {}
    frames: list | None = None
    for line in text.splitlines():
        if head := re.match(r"[* ] thread #\d+(.*)", line):
            goroutine = re.search(r"name = 'goroutine (\d+)'", head[1])
            frames = found.setdefault(int(goroutine[1]), []) if goroutine else None
        elif frames is not None and (frame := re.match(r"[* ]*frame #\d+: 0x([0-9a-f]+) [^`]*`(.+?)(?: at [^ ]+| \+ \d+)?$", line.rstrip())):
            frames.append((int(frame[1], 16), drive.plain(frame[2])))
    return found


def test_plugin_is_not_linked_to_liblldb():
    needed = subprocess.run(["readelf", "-d", drive.PLUGIN], capture_output=True, text=True, check=True).stdout
    assert "liblldb" not in needed


def test_help_names_every_subcommand():
    run = lldb(None, "help incident", "help incident threads")
    assert run.code == 0
    for verb in "analyze crash goroutines goroutine thread threads locks heap maps locate read explain".split():
        assert re.search(rf"^ +{verb} +-- ", run.out, re.M), verb
    assert "incident threads [on|off|ID]" in run.out


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
    options = rest[len(operands):]
    wanted = support.incident(verb, case.core, *operands, case.exe, *options)
    run = lldb(case, f"incident {line}")
    assert wanted.code in (0, 1, 3) and len(wanted.out) > 100, wanted.err
    assert run.code == 0, run.err
    assert wanted.out.rstrip() in run.out
    assert "\x1b" not in run.out


def test_explain_needs_no_core():
    run = lldb(None, "incident explain go.mutex.orphaned")
    assert run.code == 0 and support.incident("explain", "go.mutex.orphaned").out in run.out


def test_registers_are_addresses(one):
    run = lldb(one, "incident locate $rsp")
    assert run.code == 0 and "stack" in run.out


def test_colour_is_lldbs_own(one):
    assert "\x1b[" in lldb(one, "settings set use-color true", "incident crash").out


@pytest.mark.skipif(not os.environ.get("INCIDENT_TIMED"), reason="timed: set INCIDENT_TIMED=1 on a quiet machine")
def test_in_at_most_a_fifth_more_time_than_the_command(one):
    """Both are started from the same lldb, by turns; the best of each counts, on a machine with other work to do."""
    code = f"""
import lldb, os, subprocess, time
inside = outside = 9
for turn in range(40):
    begin = time.time()
    lldb.debugger.GetCommandInterpreter().HandleCommand('incident analyze', lldb.SBCommandReturnObject())
    inside = min(inside, time.time() - begin)
    begin = time.time()
    subprocess.run({[str(support.BIN), "analyze", str(one.core), str(one.exe)]}, capture_output=True)
    outside = min(outside, time.time() - begin)
    if turn >= 4 and inside <= 1.2 * outside: break
print('ratio is %f' % (inside / outside))
"""
    assert float(re.search(r"^ratio is ([\d.]+)", lldb(one, f"script exec({code!r})").out, re.M)[1]) <= 1.2


# --- goroutines as threads ------------------------------------------------------------------------------------------------------

@pytest.mark.cores(mode="waits", build="dwarf", versions=drive.EQUAL)
def test_backtraces_of_goroutine_threads_equal_the_engines(case):
    run = lldb(case, "incident threads on", "thread backtrace all")
    assert run.code == 0, run.err
    shown, wanted = backtraces(run.out), drive.parked(case)
    assert len(wanted) > 20 and shown.keys() == wanted.keys()
    for goroutine, frames in wanted.items():
        ours = drive.without_wrappers(shown[goroutine], frames)
        if re.match(r"runtime\.call\d+|reflect\.", shown[goroutine][-1][1]) or any("MakeFunc" in name for _, name in frames):
            frames = frames[:len(ours)]  # lldb does not unwind the assembly by which reflect calls: the stack ends there
        assert ours == frames, f"goroutine {goroutine}"


@pytest.mark.cores(mode="waits", build="stripped", versions=drive.EQUAL)
def test_return_addresses_of_goroutine_threads_without_dwarf(case):
    """lldb has no names here: the addresses are compared. It ends at the goroutine's first function, not at runtime.goexit."""
    run = lldb(case, "incident threads on", "thread backtrace all")
    assert run.code == 0, run.err
    shown, wanted = backtraces(run.out), drive.parked(case)
    assert len(wanted) > 20 and shown.keys() == wanted.keys()
    for goroutine, frames in wanted.items():
        pcs = [pc for pc, _ in frames]
        ours = [pc for pc, _ in shown[goroutine] if pc in pcs]
        assert preempted(frames) or ours[:len(pcs)] in (pcs, pcs[:-1]), f"goroutine {goroutine}: {frames}"


def preempted(frames):
    """Interrupted anywhere, in a leaf without a frame perhaps: the rbp chain alone then skips its caller."""
    return any(name == "runtime.asyncPreempt" for _, name in frames)


def test_select_a_goroutine_and_go_back(one):
    goroutine, frames = next((g, f) for g, f in sorted(drive.parked(one).items()) if any(n.startswith("main.") for _, n in f))
    run = lldb(one, "incident threads on", f"incident threads {goroutine}", "bt", "incident threads off", "thread list")
    assert run.code == 0, run.err
    assert re.search(rf"\* thread #\d+, name = 'goroutine {goroutine}'", run.out)
    assert "goroutine" not in run.out.split("(lldb) thread list")[1]


def test_too_many_goroutines_are_grouped_and_said(one):
    run = lldb(one, "incident threads on", "thread list", INCIDENT_MAX_THREADS="10")
    assert run.code == 0 and "too many" in run.out and "limit 10" in run.out
    assert support.incident("goroutines", one.core, one.exe, "--group").out in run.out
    assert "name = 'goroutine" not in run.out


def test_no_files_are_left(one, tmp_path):
    assert lldb(one, "incident threads on", TMPDIR=str(tmp_path)).code == 0
    assert list(tmp_path.iterdir()) == []


# --- failures: the command's error, a non-zero exit, and a debugger that goes on ------------------------------------------------

def goes_on(case, error, *, command="incident analyze", **changes):
    assert lldb(case, command, **changes).code == 1
    # Batch mode stops at the first error; a script's own command interpreter shows that lldb itself goes on.
    run = lldb(case, f"script lldb.debugger.HandleCommand('{command}')", "script print(6 * 7)", *(["thread list"] if case else []), **changes)
    assert run.code == 0 and "42" in run.out
    assert re.search(error, run.out + run.err), run.out + run.err


def test_child_dies_of_sigsegv(one, fake):
    goes_on(one, r"error: incident: the incident child died of signal SIGSEGV", INCIDENT=fake("kill -SEGV $$"))


def test_child_that_never_ends(one, fake):
    begin = time.time()
    goes_on(one, r"killed after 1 seconds", INCIDENT=fake("sleep 60 & sleep 60"), INCIDENT_TIMEOUT="1")
    assert time.time() - begin < 20


def test_child_without_memory(one):
    goes_on(one, r"error: incident: ", INCIDENT_MEMORY="1")


def test_no_engine(one):
    goes_on(one, r"error: incident: the command '/nowhere/incident' cannot be started", INCIDENT="/nowhere/incident")


def test_refusal_is_the_commands_own(one, fake):
    goes_on(one, r"error: incident: not today", INCIDENT=fake("echo 'incident: not today' >&2; exit 2"))


def test_findings_are_no_failure(one, fake):
    for code in (0, 1, 3):
        assert lldb(one, "incident analyze", INCIDENT=fake(drive.answering("report", code))).code == 0

def test_one_child_answers_many_questions(one, fake, tmp_path):
    starts = tmp_path / "starts"
    engine = fake(f"echo started >> {starts}; exec {support.BIN} \"$@\"")
    run = lldb(one, "incident crash", "incident locate 0xc000000000", "incident goroutine 1", INCIDENT=engine)
    assert run.code == 0, run.err
    assert starts.read_text() == "started\n"
    for words in (["crash", one.core], ["locate", one.core, "0xc000000000"], ["goroutine", one.core, "1"]):
        assert support.incident(*words, one.exe).out.rstrip() in run.out


def test_a_child_that_died_between_two_questions_is_started_anew(one, fake, tmp_path):
    starts = tmp_path / "starts"
    engine = fake(f"echo started >> {starts}; read -r question; printf '{{\"code\": 0, \"out\": 6, \"err\": 0}}\\nanswer'; kill -KILL $$")
    run = lldb(one, "incident crash", "script import time; time.sleep(0.5)", "incident crash", INCIDENT=engine)
    assert run.code == 0, run.err
    assert run.out.count("answer") == 2 and starts.read_text() == "started\n" * 2


def test_a_child_that_talks_nonsense(one, fake):
    goes_on(one, r"does not speak", INCIDENT=fake("echo hello; sleep 60"))


def test_half_an_answer_is_none(one, fake):
    goes_on(one, r"incident", INCIDENT=fake("printf '{\"code\": 0, \"out\": 600, \"err\": 0}\\nhalf'; kill -SEGV $$"))


def test_wrong_operands(one):
    goes_on(one, r"usage: incident goroutine ID", command="incident goroutine")
    goes_on(one, r"usage: incident locate ADDR", command="incident locate 1 2 3")


def test_no_core():
    goes_on(None, r"no core is open")


def test_ctrl_c_kills_the_child(one, fake, tmp_path):
    """An interactive lldb on a terminal; ^C comes as the terminal's SIGINT."""
    pid_file = tmp_path / "pid"
    leader, follower = pty.openpty()
    engine = fake(f"echo $$ > {pid_file}; exec sleep 60")
    with subprocess.Popen([drive.LLDB, "-x", "-o", f"plugin load {drive.PLUGIN}", "-c", str(one.core), str(one.exe)], stdin=follower, stdout=follower,
                          stderr=follower, start_new_session=True, env=drive.environment(INCIDENT=engine, TERM="dumb")) as debugger:
        os.close(follower)
        try:
            seen = until(leader, b"plugin load")
            time.sleep(1)
            os.write(leader, b"incident analyze\n")
            for _ in range(200):
                if pid_file.exists() and pid_file.read_text().strip():
                    break
                time.sleep(0.05)
            child = int(pid_file.read_text())
            debugger.send_signal(signal.SIGINT)
            seen += until(leader, b"interrupted")
            assert b"interrupted: the incident child was killed" in seen
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)
            os.write(leader, b"script print(6 * 7)\n")
            assert b"42" in until(leader, b"42")
        finally:
            debugger.kill()
            os.close(leader)


def until(descriptor: int, wanted: bytes, seconds: float = 20) -> bytes:
    seen, deadline = b"", time.time() + seconds
    os.set_blocking(descriptor, False)
    while wanted not in seen and time.time() < deadline:
        try:
            seen += os.read(descriptor, 65536)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            break
    assert wanted in seen, seen[-2000:]
    return seen
