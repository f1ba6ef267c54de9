#!/bin/bash
# Builds the probes with one Go toolchain, takes every core and packs them.
#   GO=/path/to/bin/go rebuild.sh OUT        writes OUT/goX.Y/ and OUT/goX.Y.tar.zst
# Needs: that Go toolchain (tools/toolchains.sh fetches them), gcc, gdb (gcore), GNU tar, zstd, timeout, and a
# kernel.core_pattern of "core" (or a relative "core.%p"). OUT stands in the cores as the executable's path: choose a
# neutral one. ONLY="build mode" takes that one core only; PACK=0 does not pack; BUILD=0 does not build.
set -eu
here=$(cd "$(dirname "$0")" && pwd); probe=$here/../probe; out=${1:?usage: GO=go rebuild.sh OUT}; go=${GO:-go}
export GOENV=off GOTOOLCHAIN=local GOFLAGS= GO111MODULE=off GOPROXY=off
ver=$("$go" version | sed -n 's/.* go\(1\.[0-9]*\).*/\1/p'); mkdir -p "$out"; out=$(cd "$out" && pwd); d=$out/go$ver; mkdir -p "$d"
case $(cat /proc/sys/kernel/core_pattern) in core|core.%p) ;; *) echo "core_pattern is not \"core\"" >&2; exit 2;; esac
ulimit -c unlimited

if [ "${BUILD:-1}" = 1 ]; then
  src=$(mktemp -d); mkdir "$src/probe" "$src/probe_cgo"
  cp "$probe"/*.go "$src/probe/"; cp "$probe/probe_cgo/main.go" "$src/probe_cgo/"
  # By hand, because Go 1.16 does not read "go:build" and a list of files on the command line has no other filter.
  [ "${ver#1.}" -ge 18 ] || rm "$src/probe/waits_go118.go"
  [ "${ver#1.}" -ge 23 ] || rm "$src/probe/waits_go123.go"
  if [ "${ver#1.}" -ge 21 ]; then
    # In a module of its own version, else the GODEBUG defaults of Go 1.20 hold (asynctimerchan=1 and others).
    export GO111MODULE=on GOFLAGS="-mod=mod -buildvcs=false"
    for m in probe probe_cgo; do printf 'module %s\n\ngo %s\n' $m "$ver" >"$src/$m/go.mod"; done
    p=. c=.
  else p=$(cd "$src/probe" && echo *.go) c=main.go; fi
  cd "$src/probe"
  CGO_ENABLED=0 "$go" build -trimpath -o "$d/exe.dwarf" $p
  CGO_ENABLED=0 "$go" build -trimpath -ldflags="-s -w" -o "$d/exe.stripped" $p
  CGO_ENABLED=0 "$go" build -trimpath -buildmode=pie -o "$d/exe.pie" $p
  cd ../probe_cgo
  CGO_ENABLED=1 "$go" build -trimpath -o "$d/exe.cgo" $c
  cd "$here"; rm -r "$src"
fi

core() { # build mode [hold|gcore]
  local name=$1.$2; [ "${3:-}" != gcore ] || name=$1.$2-gcore
  [ -z "${ONLY:-}" ] || [ "$ONLY" = "$1 ${name#*.}" ] || return 0
  local c=$d/$name; rm -rf "$c"; mkdir -p "$c"
  # A bare environment: what stands in it stands in the core.
  (cd "$c"
   case ${3:-} in
   hold|gcore)
     env -i PATH=/usr/bin:/bin GOTRACEBACK=crash "$d/exe.$1" "$2" >.out 2>.err & p=$!
     for _ in $(seq 100); do grep -q READY .out && break; sleep 0.1; done
     sleep 0.3
     if [ "$3" = hold ]; then kill -QUIT $p; wait $p || echo $? >.rc
     else # gdb writes the reserved address space out as zeros: 700 MB that become 1 MB again
       gcore -o full $p >.gcore 2>&1; kill -KILL $p; wait $p || true
       cp --sparse=always full.$p core; rm -f full.$p .gcore; echo 0 >.rc
     fi;;
   *)
     env -i PATH=/usr/bin:/bin GOTRACEBACK=crash timeout -s KILL 60 sh -c 'exec "$0" "$1" >.out 2>.err' "$d/exe.$1" "$2" || echo $? >.rc;;
   esac) 2>/dev/null || true
  mv "$c"/core.* "$c/core" 2>/dev/null || true
  # What the runtime itself printed while dying is part of the truth.
  { echo "stderr-begin (printed by the runtime while it died)"; cat "$c/.err"; echo "stderr-end"; } >>"$c/truth.txt"
  local rc; rc=$(cat "$c/.rc" 2>/dev/null || echo 0); rm -f "$c"/.out "$c"/.err "$c"/.rc
  if [ -s "$c/core" ]; then chmod 644 "$c/core"; echo "go$ver $name rc=$rc core=$(stat -c %s "$c/core") disk=$(du -k "$c/core" | cut -f1)K truth=$(stat -c %s "$c/truth.txt")"
  else echo "go$ver $name rc=$rc NO CORE" >&2; return 1; fi
}
for m in waits nilderef panicnested fatalmap overflow orphan heap; do core dwarf $m; done
core dwarf healthy hold
core dwarf healthy gcore
core dwarf waits-raw
for m in waits orphan heap nilderef; do core stripped $m; done
core pie waits
for m in csegv chold chold-raw; do core cgo $m; done

if [ "${PACK:-1}" = 1 ]; then "$here/pack.sh" "$d" "$out/go$ver.tar.zst"; fi
