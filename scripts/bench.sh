#!/bin/bash
# Benchmarks beside peers. Needs a Go toolchain to make the big core, and delve for comparison; what is missing is named.
set -euo pipefail
cd "$(dirname "$0")/.."
corpora/tools/unpack.sh build/corpora go1.25
if command -v go >/dev/null; then corpora/tools/bench_cores.sh build/bench big g3 g4 g5 o5 o6 o7 locks
else echo "bench: no Go toolchain, the big core cannot be made" >&2; fi
PATH=$PATH:$(go env GOPATH 2>/dev/null)/bin exec python3 scripts/bench.py "$@"
