"""docs/examples: files that people copy. They parse, name only commands and options that exist, and pass their own tools' checks where those are installed."""
from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest
from support import BIN, ROOT, incident

EXAMPLES = ROOT / "docs" / "examples"
COMMAND = re.compile(r"(?:^|[\s|'\"=/])incident ((?:\\\n|[^|&;\n#'])+)", re.M)


def commands() -> list[tuple[str, str]]:
    found = []
    for file in [*sorted(EXAMPLES.iterdir()), ROOT / "docs" / "runbook.md", ROOT / "docs" / "triage.md"]:
        for line in COMMAND.findall(file.read_text()):
            words = line.replace("\\\n", " ").split()
            if words and re.fullmatch(r"[a-z]+", words[0]):
                found.append((file.name, " ".join(words)))
    return found


@pytest.mark.parametrize(("file", "line"), commands())
def test_every_option_exists(file: str, line: str) -> None:
    words = line.split()
    known = incident("--help").out
    if not re.search(rf"^\s+{words[0]}\b", known, re.M):
        pytest.skip("prose")
    help_text = incident(words[0], "--help").out
    for word in words[1:]:
        if option := re.match(r"--[a-z][a-z-]*", word):
            assert re.search(rf"{option[0]}\b", help_text), f"{file}: incident {words[0]} has no {option[0]}"


def test_enough_commands_were_seen() -> None:
    seen = {line.split()[0] for _, line in commands()}
    assert {"analyze", "triage", "collect", "doctor", "signature"} <= seen


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes-shards.yaml", "github-actions.yml"])
def test_yaml(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    (document,) = yaml.safe_load_all((EXAMPLES / name).read_text())
    if name.startswith("kubernetes"):
        assert document["apiVersion"] and document["kind"] and document["metadata"]["name"]
        pod = document["spec"]["template"]["spec"]
        volumes = {v["name"] for v in pod["volumes"]}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert {m["name"] for m in container["volumeMounts"]} <= volumes
            subprocess.run(["sh", "-n", "-c", container["args"][0]], check=True)
    else:
        for step in document["jobs"]["test"]["steps"]:
            assert ("run" in step) != ("uses" in step)
            if "run" in step:
                subprocess.run(["bash", "-n", "-c", step["run"]], check=True)


@pytest.mark.parametrize(("tool", "name"), [("actionlint", "github-actions.yml"), ("kubernetes-validate", "kubernetes.yaml"),
                                            ("kubernetes-validate", "kubernetes-shards.yaml")])
def test_by_their_own_tools(tool: str, name: str) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *(["--strict"] if tool.startswith("kube") else []), EXAMPLES / name], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_units(tmp_path: pathlib.Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for unit in EXAMPLES.glob("incident-triage.*"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/incident", str(BIN)))
    done = subprocess.run(["systemd-analyze", "verify", *tmp_path.iterdir()], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_core_pattern_fits_the_kernel() -> None:
    line = re.search(r"^kernel.core_pattern=(.*)$", (EXAMPLES / "incident-collect.conf").read_text(), re.M)
    assert line and len(line[1]) <= 127


def test_a_step_for_every_finding_kind() -> None:
    book = (EXAMPLES / "runbook.toml").read_text()
    kinds = re.findall(r"^\s*((?:crash|go|native|cgo|lock)\.[a-z.-]+)", incident("explain").out, re.M)
    assert len(kinds) > 30
    assert [kind for kind in kinds if f'"{kind}"' not in book] == []
