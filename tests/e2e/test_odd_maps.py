"""Healthy maps of a stripped program, found by their structure: none may be read with another type's cells and blamed."""
import pathlib

import pytest
from support import GO, build_go, kernel_core, report

HERE = pathlib.Path(__file__).parent


@pytest.mark.skipif(GO is None, reason="go is not installed")
def test_maps_whose_arrays_fit_other_types_too(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = build_go(HERE / "odd_maps.go", tmp_path / "program", "-ldflags=-s -w")
    monkeypatch.setenv("GOTRACEBACK", "crash")
    r = report("analyze", kernel_core(program, "", tmp_path), program)
    assert [f["kind"] for f in r["findings"]] == ["crash.requested"], r["findings"]
    assert next(d for d in r["detectors"] if d["id"] == "go.map")["coverage"]["checked"] > 600
