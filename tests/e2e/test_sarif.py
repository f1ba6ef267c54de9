"""SARIF of real cores, held against the standard's own schema."""
import json

import jsonschema
import pytest
from support import ROOT, Case, incident

SCHEMA = json.loads((ROOT / "tests" / "support" / "schemas" / "sarif-schema-2.1.0.json").read_text())
VALIDATOR = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)


@pytest.mark.cores(mode="nilderef")
def test_real_reports(case: Case) -> None:
    run = incident("analyze", case.core, case.exe, "--format", "sarif")
    assert run.code == 1, run.err
    VALIDATOR.validate(run.json)
    result = run.json["runs"][0]["results"][0]
    assert result["ruleId"] == "crash.panic"
    assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "main.(*account).ownerName"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith(".go")


@pytest.mark.cores(mode="nilderef")
def test_every_command_has_every_format(case: Case) -> None:
    """A list looks for no findings: its SARIF has no results, for an empty list would read as health."""
    opened = incident("analyze", case.core, case.exe, "--format", "json").json
    tid, goid, pc = opened["crash"]["thread"], opened["crash"]["goroutine"], opened["crash"]["frames"][0]["pc"]
    own = {"goroutine": [str(goid)], "thread": [str(tid)], "locate": [pc], "read": [pc, "2"]}
    for command in ("crash", "goroutines", "goroutine", "threads", "thread", "locks", "heap", "maps", "locate", "read"):
        words = (command, case.core, case.exe, *own.get(command, []))
        for format in ("terminal", "json", "markdown", "html", "sarif"):
            run = incident(*words, "--format", format)
            assert run.code == (1 if command == "crash" else 0) and run.out, (command, format, run.err)
        VALIDATOR.validate(run.json)
        log = run.json["runs"][0]
        assert ("results" in log) == (command == "crash")
        notes = [note["message"]["text"] for note in log["invocations"][0]["toolExecutionNotifications"]]
        assert any("looks for no findings" in note for note in notes) == (command != "crash")
