#!/bin/bash
# generate.sh: writes a runtime layout table from a Go toolchain, and checks the ones at hand.
#   GO=/path/to/bin/go generate.sh table                      > src/go/binary/layouts/go1_NN.inc
#   GO=/path/to/bin/go generate.sh overlay [GOEXPERIMENT]     > src/go/binary/layouts/go1_NN_name.inc
#   GO=/path/to/bin/go generate.sh check [GOEXPERIMENT]       compares DWARF with the compiled-in table
#   GO=/path/to/bin/go generate.sh exe OUT [GOEXPERIMENT]     only the executable that uses every type of the list
#   generate.sh all DIR       rewrites go1_16.inc … from DIR/go1.NN/exe.dwarf (the unpacked bundles)
# Needs $LAYOUT_DUMP or build-dev/corpora/tools/layout/layout_dump (ninja -C build-dev layout_dump).
set -eu
here=$(cd "$(dirname "$0")" && pwd); root=$here/../../..
tool=${LAYOUT_DUMP:-$root/build-dev/corpora/tools/layout/layout_dump}
[ "${1:-}" = exe ] || [ -x "$tool" ] || { echo "generate.sh: build layout_dump first: ninja -C build-dev layout_dump" >&2; exit 2; }

build() { # GOEXPERIMENT → path of an executable that uses every type of the list
  local go=${GO:-go} ver src=$work/src p=.
  ver=$(GOENV=off GOTOOLCHAIN=local GOFLAGS= "$go" version | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')
  mkdir -p "$src"; cp "$root"/corpora/probe/*.go "$src/"
  [ "$ver" -ge 18 ] || rm "$src/waits_go118.go"
  [ "$ver" -ge 23 ] || rm "$src/waits_go123.go"
  export GOENV=off GOTOOLCHAIN=local GOFLAGS= GO111MODULE=off GOPROXY=off GOEXPERIMENT=$1 CGO_ENABLED=0
  if [ "$ver" -ge 21 ]; then
    export GO111MODULE=on GOFLAGS="-mod=mod -buildvcs=false"
    printf 'module probe\n\ngo 1.%s\n' "$ver" >"$src/go.mod"
  else p=$(cd "$src" && echo *.go); fi
  (cd "$src" && "$go" build -trimpath -o "$work/exe" $p)
}

case ${1:-} in
exe)
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  build "${3:-}"; cp "$work/exe" "${2:?usage: generate.sh exe OUT [GOEXPERIMENT]}";;
table|overlay|check)
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  build "${2:-}"
  case $1 in table) "$tool" "$work/exe";; overlay) "$tool" --overlay "$work/exe";; check) "$tool" --check "$work/exe";; esac;;
all)
  for exe in "${2:?usage: generate.sh all DIR}"/go1.*/exe.dwarf; do
    v=$(basename "$(dirname "$exe")"); out=$root/src/go/binary/layouts/go1_${v#go1.}.inc
    "$tool" "$exe" >"$out.new"; mv "$out.new" "$out"; echo "$out"
  done;;
*) sed -n '2,9p' "$0" >&2; exit 2;;
esac
