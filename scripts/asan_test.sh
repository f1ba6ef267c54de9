#!/bin/bash
# ctest and tests/e2e with AddressSanitizer and UBSan: a report of theirs fails the test that drew it. Several times as
# long as `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
cmake --preset asan >/dev/null
cmake --build --preset asan -j "$jobs"
corpora/tools/unpack.sh build/corpora
export INCIDENT_CORPORA=$PWD/build/corpora ASAN_OPTIONS=exitcode=86 UBSAN_OPTIONS=print_stacktrace=1
ctest --preset asan -j "$jobs" --timeout 3600
scripts/venv.sh
INCIDENT_BIN=$PWD/build-asan/incident INCIDENT_PATIENCE=10 .venv/bin/python -m pytest tests/e2e -n "$jobs"
