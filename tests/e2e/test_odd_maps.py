"""Healthy maps of a stripped program, found by their structure: none may be read with another type's cells and blamed."""
import os
import pathlib
import shutil
import subprocess

import pytest
from support import kernel_core, report

HERE = pathlib.Path(__file__).parent
GO = shutil.which("go")


@pytest.mark.skipif(GO is None, reason="go is not installed")
def test_maps_whose_arrays_fit_other_types_too(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(HERE / "odd_maps.go", tmp_path)
    environment = os.environ | {"GO111MODULE": "off", "GOPROXY": "off", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    subprocess.run([GO, "build", "-ldflags=-s -w", "-o", "program", "odd_maps.go"], cwd=tmp_path, env=environment, check=True,
                   capture_output=True)
    monkeypatch.setenv("GOTRACEBACK", "crash")
    r = report("analyze", kernel_core(tmp_path / "program", "", tmp_path), tmp_path / "program")
    assert [f["kind"] for f in r["findings"]] == ["crash.requested"], r["findings"]
    assert next(d for d in r["detectors"] if d["id"] == "go.map")["coverage"]["checked"] > 600
