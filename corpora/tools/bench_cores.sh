#!/bin/bash
# bench_cores.sh OUT [NAME...]: builds corpora/bench and takes the benchmark's cores into OUT/NAME/{core,truth.txt} beside
# OUT/exe and OUT/exe.stripped. What is there already is kept. About 3 GB of disk and 2 GB of memory; GO=... chooses the Go.
# Not bundled. kernel.core_pattern must be "core".
set -eu
here=$(cd "$(dirname "$0")" && pwd); out=${1:?usage: bench_cores.sh OUT [NAME...]}; shift; go=${GO:-go}
mkdir -p "$out"; out=$(cd "$out" && pwd)
case $(cat /proc/sys/kernel/core_pattern) in core|core.%p) ;; *) echo "core_pattern is not \"core\"" >&2; exit 2;; esac
declare -A args=(
  [big]="-goroutines 100000 -objects 15000000 -map 600000"   # 1 GB and more
  [g3]="-goroutines 1000" [g4]="-goroutines 10000" [g5]="-goroutines 100000"
  [o5]="-goroutines 10 -objects 100000" [o6]="-goroutines 10 -objects 1000000" [o7]="-goroutines 10 -objects 10000000"
  [locks]="-goroutines 100000 -locks 50000 -share 100")
[ $# -gt 0 ] || set -- big g3 g4 g5 o5 o6 o7 locks
if [ ! -x "$out/exe" ]; then
  t=$(mktemp -d); cp "$here/../bench/main.go" "$t/"; v=$("$go" env GOVERSION | sed 's/^go\(1\.[0-9]*\).*/\1/')
  printf 'module bench\n\ngo %s\n' "$v" >"$t/go.mod"
  (cd "$t" && export GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0 && "$go" build -trimpath -o "$out/exe" . && "$go" build -trimpath -ldflags="-s -w" -o "$out/exe.stripped" .)
  rm -r "$t"
fi
ulimit -c unlimited
for n in "$@"; do
  d=$out/$n; [ ! -s "$d/core" ] || continue
  rm -rf "$d"; mkdir -p "$d"; exe=$out/exe
  # shellcheck disable=SC2086
  (cd "$d" && env -i PATH=/usr/bin:/bin timeout -s KILL 300 sh -c 'exec "$0" "$@"' "$exe" ${args[$n]} >/dev/null) 2>/dev/null || true
  mv "$d"/core.* "$d/core" 2>/dev/null || true
  [ -s "$d/core" ] || { echo "$n: no core" >&2; exit 1; }
  echo "$n: $(du -m "$d/core" | cut -f1) MB on disk; $(grep gc-forced "$d/truth.txt")"
done
