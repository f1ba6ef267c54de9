"""incident.analyze: the same report as the command's, in every rendering, under the names of the JSON."""
from __future__ import annotations

import gc
import json
import os
import subprocess

import pytest
import support

import incident


def command(*arguments: object, columns: int = 100) -> str:
    environment = {**os.environ, "COLUMNS": str(columns), "LC_ALL": "C.UTF-8"}
    done = subprocess.run([support.BIN, *map(str, arguments)], capture_output=True, env=environment, timeout=120)
    assert done.returncode in (0, 1, 3), done.stderr
    return done.stdout.decode()


@pytest.mark.cores(mode="nilderef")
def test_the_dict_is_the_commands_json(case):
    report = incident.analyze(case.core, case.exe)
    assert report.to_dict() == json.loads(command("analyze", case.core, case.exe, "--format", "json"))


def test_renderings_are_the_commands(crashed):
    report = incident.analyze(crashed.core, crashed.exe)
    assert report.to_text() == command("analyze", crashed.core, crashed.exe)
    assert report.to_text(width=60, all=True) == command("analyze", crashed.core, crashed.exe, "--all", columns=60)
    assert report.to_markdown() == command("analyze", crashed.core, crashed.exe, "--format", "markdown")
    assert report.to_html() == report._repr_html_() == command("analyze", crashed.core, crashed.exe, "--format", "html")
    assert "\x1b[" in report.to_text(color=True) and "\x1b[" not in report.to_text()


def test_the_page_escapes_what_a_browser_would_obey(crashed):
    page = incident.analyze(crashed.core, crashed.exe).to_html()
    body = page[page.index("<pre"):]
    assert "main.(*account).ownerName" in body
    assert body.count("<span") == body.count("</span>") > 0
    assert "\x1b" not in page


def test_exit_code(crashed, one):
    assert incident.analyze(crashed.core, crashed.exe).exit_code() == 1
    healthy = support.cases(mode="healthy", build="dwarf")[-1]
    report = incident.analyze(healthy.core, healthy.exe)
    assert report.exit_code("warning") == 0
    with pytest.raises(ValueError):
        report.exit_code("loud")


def test_only_and_skip(crashed):
    assert [f.kind for f in incident.analyze(crashed.core, crashed.exe, only=["crash"]).findings] == ["crash.panic"]
    report = incident.analyze(crashed.core, crashed.exe, skip=["crash"])
    assert len(report.findings) == 0
    assert {d.id: d.outcome for d in report.detectors}["crash"] == "skipped"
    with pytest.raises(ValueError, match="go.mutx"):
        incident.analyze(crashed.core, crashed.exe, only=["go.mutx"])


def test_parts_outlive_the_report(crashed):
    frame = incident.analyze(crashed.core, crashed.exe).crash.snapshots[0]
    slots = incident.analyze(crashed.core, crashed.exe).crash.snapshots[0].slots
    iterator = iter(incident.analyze(crashed.core, crashed.exe).goroutines)
    gc.collect()
    assert frame.function == "main.(*account).ownerName"
    assert [s.offset for s in slots]
    assert all(g.id > 0 for g in iterator)


@pytest.mark.parametrize("content", [b"", b"no core", b"\x7fELF" + bytes(100)])
def test_what_is_no_core(tmp_path, content):
    path = tmp_path / "core"
    path.write_bytes(content)
    with pytest.raises(incident.Error, match="."):
        incident.analyze(path)
    with pytest.raises(incident.Error):
        incident.open(str(path))
    with pytest.raises(incident.Error):
        incident.analyze(tmp_path / "absent")


def test_arguments_of_wrong_types(crashed):
    with pytest.raises(TypeError):
        incident.analyze(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        incident.analyze(crashed.core, crashed.exe, jobs="many")  # type: ignore[arg-type]
