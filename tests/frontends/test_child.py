"""What the front-ends make of a child that fails: the command's error, a non-zero exit, and a debugger that goes on."""
import re
import time
import typing

import drive
import pytest
import support


class FrontEnd(typing.NamedTuple):
    run: typing.Callable[..., support.Run]
    proof: str  # a command that shows that the debugger goes on; prints 42
    pause: str

    def goes_on(self, case: support.Case | None, error: str, *, command: str = "incident analyze", **changes: str) -> None:
        assert self.run(case, command, **changes).code == 1
        # lldb in batch mode stops at the first error: its script's own command interpreter shows that lldb itself goes on.
        tried = f"script lldb.debugger.HandleCommand('{command}')" if self.run is drive.lldb else command
        run = self.run(case, tried, self.proof, **changes)
        assert run.code == 0 and "42" in run.out
        assert re.search(error, run.out + run.err), run.out + run.err
        assert "Traceback" not in run.out + run.err


@pytest.fixture(params=[
    pytest.param(FrontEnd(drive.gdb, "print 6 * 7", "shell sleep 0.5"), id="gdb",
                 marks=pytest.mark.skipif(not drive.GDB, reason="gdb is not installed")),
    pytest.param(FrontEnd(drive.lldb, "script print(6 * 7)", "script import time; time.sleep(0.5)"), id="lldb",
                 marks=[pytest.mark.skipif(not drive.LLDB, reason="lldb-19 is not installed"),
                        pytest.mark.skipif(not drive.PLUGIN.exists(), reason=f"{drive.PLUGIN} is not built (liblldb-19-dev)")]),
])
def front_end(request: pytest.FixtureRequest) -> FrontEnd:
    return request.param


def test_child_dies_of_sigsegv(front_end, one, fake):
    front_end.goes_on(one, r"incident: the (incident )?child died of signal SIGSEGV", INCIDENT=fake("kill -SEGV $$"))


def test_child_that_never_ends(front_end, one, fake):
    begin = time.time()
    front_end.goes_on(one, r"killed after 1 seconds", INCIDENT=fake("sleep 60 & sleep 60"), INCIDENT_TIMEOUT="1")
    assert time.time() - begin < 20


def test_child_without_memory(front_end, one):
    front_end.goes_on(one, r"incident: ", INCIDENT_MEMORY="1")


def test_no_engine(front_end, one):
    front_end.goes_on(one, r"incident: the command.* cannot be started", INCIDENT="/nowhere/incident")


def test_refusal_is_the_commands_own(front_end, one, fake):
    front_end.goes_on(one, r"incident: not today", INCIDENT=fake("echo 'incident: not today' >&2; exit 2"))


@pytest.mark.parametrize("code", [0, 1, 3])
def test_findings_are_no_failure(front_end, one, fake, code):
    assert front_end.run(one, "incident analyze", INCIDENT=fake(drive.answering("report", code))).code == 0


def test_one_child_answers_many_questions(front_end, one, fake, tmp_path):
    starts = tmp_path / "starts"
    engine = fake(f"echo started >> {starts}; exec {support.BIN} \"$@\"")
    run = front_end.run(one, "incident crash", "incident locate 0xc000000000", "incident goroutine 1", INCIDENT=engine)
    assert run.code == 0, run.err
    assert starts.read_text() == "started\n"
    for words in (["crash", one.core], ["locate", one.core, "0xc000000000"], ["goroutine", one.core, "1"]):
        assert support.incident(*words, one.exe).out.rstrip() in run.out


def test_a_child_that_died_between_two_questions_is_started_anew(front_end, one, fake, tmp_path):
    starts = tmp_path / "starts"
    engine = fake(f"echo started >> {starts}; read -r question; printf '{{\"code\": 0, \"out\": 6, \"err\": 0}}\\nanswer'; kill -KILL $$")
    run = front_end.run(one, "incident crash", front_end.pause, "incident crash", INCIDENT=engine)
    assert run.code == 0, run.err
    assert run.out.count("answer") == 2 and starts.read_text() == "started\n" * 2


def test_a_child_that_talks_nonsense(front_end, one, fake):
    front_end.goes_on(one, r"does not speak", INCIDENT=fake("echo hello; sleep 60"))


def test_half_an_answer_is_none(front_end, one, fake):
    front_end.goes_on(one, r"incident", INCIDENT=fake("printf '{\"code\": 0, \"out\": 600, \"err\": 0}\\nhalf'; kill -SEGV $$"))


def test_wrong_operands(front_end, one):
    front_end.goes_on(one, r"usage: incident goroutine ID", command="incident goroutine")
    front_end.goes_on(one, r"usage: incident locate ADDR", command="incident locate 1 2 3")


def test_no_core(front_end):
    front_end.goes_on(None, r"no core is open")
