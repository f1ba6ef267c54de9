#!/bin/bash
# The project's own Python environment, .venv, with what the tests need. Quick when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
python=/usr/bin/python3; [ -x "$python" ] || python=python3
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -c 'import pytest, xdist, jsonschema' 2>/dev/null ||
  .venv/bin/python -m pip install -q --disable-pip-version-check pytest pytest-xdist jsonschema
