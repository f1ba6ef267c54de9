#!/bin/bash
# generate.sh: writes the runtime layout tables of src/go/binary/layouts from real Go toolchains, and checks them.
#   generate.sh all TOOLCHAINS       every table. TOOLCHAINS/1.NN/bin/go, as tools/toolchains.sh fetches them
#   generate.sh overlays TOOLCHAINS  then, with layout_dump built anew, every overlay; the few
#                                    old patch releases among them are fetched through the module proxy and thrown away.
#                                    After a line was added to runtime_fields.def: both, or an overlay may miss the line.
#   generate.sh one GO               the table of one toolchain: > src/go/binary/layouts/go1_NN.inc
#   generate.sh check GO [GOEXPERIMENT]      DWARF against the compiled-in table
#   generate.sh exe OUT GO [GOEXPERIMENT]    only the executable that uses every type of the list (corpora/probe)
# Needs $LAYOUT_DUMP or build-dev/corpora/tools/layout/layout_dump (ninja -C build-dev layout_dump). A new minor version: a line
# in layout.cpp. An overlay: a line there and below.
set -eu
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../../.." && pwd); layouts=$root/src/go/binary/layouts
tool=${LAYOUT_DUMP:-$root/build-dev/corpora/tools/layout/layout_dump}
work=$(mktemp -d); trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

build() { # OUT GO [GOEXPERIMENT]
  local out=$1 go=$2 ver src=$work/src p=.
  ver=$(GOENV=off GOTOOLCHAIN=local GOFLAGS= "$go" version | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')
  rm -rf "$src"; mkdir -p "$src"; cp "$root"/corpora/probe/*.go "$src/"
  [ "$ver" -ge 18 ] || rm "$src/waits_go118.go"
  [ "$ver" -ge 23 ] || rm "$src/waits_go123.go"
  ( export GOENV=off GOTOOLCHAIN=local GOFLAGS= GO111MODULE=off GOPROXY=off GOEXPERIMENT=${3:-} CGO_ENABLED=0
    if [ "$ver" -ge 21 ]; then
      export GO111MODULE=on GOFLAGS="-mod=mod -buildvcs=false"
      printf 'module probe\n\ngo 1.%s\n' "$ver" >"$src/go.mod"
    else p=$(cd "$src" && echo *.go); fi
    cd "$src" && "$go" build -trimpath -o "$out" $p )
}

write() { # FILE LAYOUT_DUMP-ARGUMENTS...
  local file=$1; shift
  "$tool" "$@" >"$work/table"; mv "$work/table" "$layouts/$file"; echo "$layouts/$file"
}

old_toolchain() { # VERSION → path of its go
  local dir
  dir=$(cd / && GOMODCACHE=$work/modules GOFLAGS=-modcacherw GOTOOLCHAIN=local go mod download -json "golang.org/toolchain@v0.0.1-go$1.linux-amd64" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  [ -n "$dir" ] || { echo "generate.sh: go$1 cannot be had from the module proxy" >&2; return 1; }
  chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/*; echo "$dir/bin/go"
}

case ${1:-} in
exe) build "$(realpath -m "${2:?}")" "${3:?}" "${4:-}";;
one) build "$work/exe" "${2:?}"; "$tool" "$work/exe";;
check) build "$work/exe" "${2:?}" "${3:-}"; "$tool" --check "$work/exe";;
all)
  [ -x "$tool" ] || { echo "generate.sh: build layout_dump first: ninja -C build-dev layout_dump" >&2; exit 2; }
  toolchains=${2:?usage: generate.sh all TOOLCHAINS}
  for minor in $(seq 16 27); do
    build "$work/exe" "$toolchains/1.$minor/bin/go"; write "go1_$minor.inc" "$work/exe"
  done
  echo "rebuild layout_dump with the new tables, then: generate.sh overlays $toolchains";;
overlays)
  toolchains=${2:?usage: generate.sh overlays TOOLCHAINS}
  for row in 1.16.3 1.17 1.18.1 1.18.8 1.19 1.23.2 1.23.11 1.24.5; do
    file=$row; [ "${row#1.*.}" != "$row" ] || file=$row.0
    build "$work/exe" "$(old_toolchain $row)"; write "go${file//./_}.inc" --overlay "$work/exe"; chmod -R u+w "$work/modules"; rm -rf "$work/modules"
  done
  for row in 22/noallocheaders 22/noexectracer2 24/nospinbitmutex 24/nosynchashtriemap 25/nosynchashtriemap 24/noswissmap 25/noswissmap 25/greenteagc 26/nogreenteagc 27/nogreenteagc; do
    build "$work/exe" "$toolchains/1.${row%/*}/bin/go" "${row#*/}"; write "go1_${row%/*}_${row#*/}.inc" --overlay "$work/exe"
  done;;
*) sed -n '2,12p' "$0" >&2; exit 2;;
esac
