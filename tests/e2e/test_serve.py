"""incident serve: the protocol of the debuggers' child. Each answer is byte for byte what the command prints."""
from __future__ import annotations

import json
import os
import subprocess

import pytest
import support


class Served:
    def __init__(self, *arguments: object) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        self.child = subprocess.Popen([support.BIN, "serve", *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, env=environment)

    def line(self, text: bytes) -> tuple[int, str, str]:
        self.child.stdin.write(text + b"\n")
        self.child.stdin.flush()
        head = json.loads(self.child.stdout.readline())
        return head["code"], self.child.stdout.read(head["out"]).decode(), self.child.stdout.read(head["err"]).decode()

    def ask(self, *words: object, **more: object) -> tuple[int, str, str]:
        return self.line(json.dumps({"args": [str(w) for w in words], **more}).encode())

    def end(self) -> int:
        self.child.stdin.close()
        code = self.child.wait(60)
        assert self.child.stdout.read() == b"" and self.child.stderr.read() == b""
        return code


@pytest.mark.cores(mode="nilderef", build="dwarf")
def test_answers_are_the_commands(case):
    served = Served(case.core, case.exe)
    # From quick to deep and back: a later question may find more read than it needs, and must not show it.
    for words in (["crash"], ["locate", "0xc000000000"], ["goroutines"], ["analyze"], ["crash"], ["goroutines", "--group"], ["maps"],
                  ["goroutine", "1"], ["threads"], ["read", "0xc000000000", "4"], ["locks"], ["crash", "--format", "json"],
                  ["goroutines", "--format", "json"], ["locate", "0xc000000000", "--format", "json"]):
        verb, *rest = words
        operands = [w for w in rest if not w.startswith("--") and w != "json"]
        wanted = support.incident(verb, case.core, *operands, case.exe, *rest[len(operands):])
        assert served.ask(*words) == (wanted.code, wanted.out, wanted.err), words
    assert served.end() == 0


def test_bad_questions_cost_only_themselves():
    case = support.cases(mode="waits", build="stripped")[-1]
    served = Served(case.core)
    for line in (b"", b"{", b"[]", b'{"args": []}', b'{"args": [1]}', b'{"args": "crash"}', b"\xff\xfe", b"[" * 10000,
                 b'{"args": ["crash"' + b" " * (2 << 20) + b"]}"):
        code, out, err = served.line(line)
        assert code == 2 and out == "" and err.startswith("incident: ")
    for words in (["nonsense"], ["serve"], ["crash", "--no-such"], ["crash", "-o", "/tmp/x"], ["crash", "--json", "/tmp/x"],
                  ["goroutine"], ["triage", "/tmp"], ["crash", "another-core"]):
        code, out, err = served.ask(*words)
        assert code == 2 and out == "", words
    assert served.ask("crash")[0] == support.incident("crash", case.core).code
    code, out, _ = served.ask("explain", "go.mutex.orphaned")
    assert code == 0 and "go.mutex.orphaned" in out
    assert "Usage" in served.ask("crash", "--help")[1]
    assert served.end() == 0


def test_width_and_colour_are_the_askers():
    case = support.cases(mode="nilderef", build="dwarf")[-1]
    served = Served(case.core, case.exe)
    narrow = served.ask("crash", columns=60)[1]
    wide = served.ask("crash", columns=120)[1]
    assert narrow != wide and narrow == support.incident("crash", case.core, case.exe, COLUMNS="60").out
    assert "\x1b[" in served.ask("crash", "--color", "always")[1] and "\x1b[" not in narrow
    assert served.end() == 0


def test_a_core_that_cannot_be_read(tmp_path):
    path = tmp_path / "core"
    path.write_bytes(b"\x7fELF" + bytes(60))
    served = Served(path)
    code, out, err = served.ask("crash")
    assert code == 2 and out == "" and str(path) in err
    assert served.end() == 0
