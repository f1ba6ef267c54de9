"""`pip install .` in a fresh environment, and a wheel: what is installed is what was built, types and all.

Builds the engine once more, which takes minutes without a compiler cache; INCIDENT_WHEEL=0 leaves it out.
"""
from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile

import pytest
import support

import test_docs

pytestmark = pytest.mark.skipif(os.environ.get("INCIDENT_WHEEL") == "0", reason="INCIDENT_WHEEL=0")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", folder,
                           f"--config-settings=build-dir={folder / 'build'}", support.ROOT],
                          capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    wheels = list(folder.glob("incident-*.whl"))
    assert len(wheels) == 1
    return wheels[0]


def test_what_a_wheel_holds(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"incident/__init__.py", "incident/_core.pyi", "incident/py.typed"} <= names
    assert any(n.startswith("incident/_core.") and n.endswith(".so") for n in names)
    assert not [n for n in names if not n.startswith(("incident/", "incident-"))]


def test_a_fresh_environment(wheel, tmp_path, crashed):
    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", wheel], check=True, timeout=300)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", test_docs.BLOCKS[0], crashed.core, crashed.exe], capture_output=True, text=True, timeout=120,
                          env=environment, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "crash.panic" in done.stdout
