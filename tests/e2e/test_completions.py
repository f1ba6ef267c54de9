"""Shell completions offer, for each command, exactly the options of its --help. bash always; fish and zsh where they are installed."""
import os
import re
import shutil
import subprocess

import pytest
from support import BIN, ROOT, incident

COMPLETIONS = ROOT / "docs" / "completions"
COMMANDS = re.findall(r"^  ([a-z]+) {2,}", incident("--help").out.partition("Subcommands:")[2], re.M)


def options(command: str) -> set[str]:
    return set(re.findall(r"^  (?:-\w,)?(--[a-z-]+)", incident(command, "--help").out, re.M))


def ask(*words: str) -> str:
    environment = {**os.environ, "PATH": f"{BIN.parent}:{os.environ['PATH']}", "TERM": "dumb"}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, env=environment).stdout


def test_commands_were_read() -> None:
    assert {"analyze", "locks", "triage", "explain"} <= set(COMMANDS) and len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_bash(command: str) -> None:
    script = f'source {COMPLETIONS}/incident.bash; COMP_WORDS=(incident {command} --); COMP_CWORD=2; _incident; printf "%s\\n" "${{COMPREPLY[@]}}"'
    assert set(ask("bash", "-c", script).split()) == options(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_fish(command: str) -> None:
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    offered = ask("fish", "--no-config", "-c", f"source {COMPLETIONS}/incident.fish; complete -C 'incident {command} --'")
    assert {line.split("\t")[0] for line in offered.splitlines()} == options(command)


@pytest.mark.parametrize(("shell", "file"), [("bash", "incident.bash"), ("zsh", "_incident"), ("fish", "incident.fish")])
def test_syntax(shell: str, file: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    ask(shell, "-n", str(COMPLETIONS / file))


def test_kinds_and_formats() -> None:
    def bash(*words: str) -> list[str]:
        line = " ".join(words)
        return ask("bash", "-c", f'source {COMPLETIONS}/incident.bash; COMP_WORDS=(incident {line} ""); COMP_CWORD={len(words) + 1}; _incident; '
                                 'printf "%s\\n" "${COMPREPLY[@]}"').split()
    assert "go.mutex.orphaned" in bash("explain") and "lock.cycle" in bash("analyze", "--only")
    assert bash("analyze", "--format")[-1] == "sarif" and bash("goroutines", "--format")[-1] == "sarif" and bash("merge", "--format")[-1] == "markdown"
