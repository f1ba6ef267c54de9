#!/bin/bash
# Every test: C++ (ctest) and Python (pytest). Missing optional parts are named, never silent.
set -euo pipefail
cd "$(dirname "$0")/.."
corpora/tools/unpack.sh build/corpora
ctest --test-dir build --output-on-failure --no-tests=error -j "$(nproc)" --timeout 600
scripts/venv.sh
.venv/bin/python -m pytest tests/e2e -n "$(nproc)"
.venv/bin/python -m pytest tests/frontends -n "$(nproc)"
.venv/bin/python -m pytest tests/python -n "$(nproc)" --dist loadfile
