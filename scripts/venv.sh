#!/bin/bash
# The project's own Python environment, .venv: what the tests need, and the module of the build tree. Quick when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
python=/usr/bin/python3; [ -x "$python" ] || python=python3
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -c 'import pytest, xdist, jsonschema, mypy, yaml' 2>/dev/null ||
  .venv/bin/python -m pip install -q --disable-pip-version-check pytest pytest-xdist jsonschema mypy pyyaml
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD/build/python" > "$site/incident-build.pth"
