#!/bin/bash
# take_e2e.sh GO OUT: the Go programs that end-to-end tests build for themselves (tests/e2e/NAME.go), linked into one
# executable by the toolchain GO, and the cores of their modes, for machines without Go: OUT/e2e/goX.Y/exe.linked and
# linked.NAME-MODE/core. core_pattern must be "core"; the folder's path is NT_FILE's path: choose a neutral one.
set -eu
go=${1:?usage: take_e2e.sh GO OUT}; out=${2:?usage: take_e2e.sh GO OUT}
tests=$(cd "$(dirname "$0")/../../tests/e2e" && pwd)
[ "$(cat /proc/sys/kernel/core_pattern)" = core ] || { echo 'core_pattern is not "core"' >&2; exit 2; }
ulimit -c unlimited
export GOENV=off GOTOOLCHAIN=local GOFLAGS= GO111MODULE=off GOPROXY=off CGO_ENABLED=0 GOTRACEBACK=crash
modes="pools:busy pools:circle lock_names: library_panics:nil library_panics:again library_panics:repeat sync_map:
  circles:nobody circles:sleeper circles:selects stopped_timers:leaks stopped_timers:healthy"
# Stopped by gdb where the function begins: giving_back.
stopped='writer:sync.(*RWMutex).Unlock reader:sync.(*RWMutex).rUnlockSlow group:sync.(*WaitGroup).Add'

d=$out/e2e/$("$go" version | sed -n 's/.* \(go1\.[0-9]*\).*/\1/p'); mkdir -p "$d"; d=$(cd "$d" && pwd)
t=$(mktemp -d)
{ printf 'package main\n\nimport "os"\n\nfunc main() {\n\tname := os.Args[1]\n\tos.Args = os.Args[1:]\n\tswitch name {\n'
  for name in pools lock_names library_panics sync_map circles stopped_timers giving_back; do
    sed "s/^func main() {/func main_$name() {/" "$tests/$name.go" >"$t/$name.go"
    printf '\tcase "%s":\n\t\tmain_%s()\n' $name $name
  done; printf '\t}\n}\n'; } >"$t/main.go"
(cd "$t" && "$go" build -trimpath -ldflags=-compressdwarf=false -o "$d/exe.linked" .)
rm -r "$t"

for mode in $modes; do
  c=$d/linked.${mode/:/-}; c=${c%-}; rm -rf "$c"; mkdir "$c"
  (cd "$c" && timeout -s KILL 60 "$d/exe.linked" ${mode/:/ } >/dev/null 2>&1) || true
  chmod 644 "$c/core"
done
for mode in $stopped; do
  c=$d/linked.giving_back-${mode%%:*}; rm -rf "$c"; mkdir "$c"
  (cd "$c" && gdb --batch -ex 'set pagination off' -ex 'handle SIGURG SIGABRT SIGQUIT nostop noprint pass' -ex 'break main.want' \
    -ex "run giving_back ${mode%%:*} >/dev/null 2>&1" -ex 'disable 1' -ex "tbreak '${mode#*:}'" -ex continue -ex 'signal SIGABRT' \
    "$d/exe.linked" >/dev/null 2>&1) || true
  mv "$c"/core* "$c/core" 2>/dev/null || true; chmod 644 "$c/core"
done
