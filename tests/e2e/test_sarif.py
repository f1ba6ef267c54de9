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
