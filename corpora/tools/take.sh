#!/bin/bash
# take.sh PROGRAM GO OUT [MODE...]: builds corpora/PROGRAM (locks, heap, web, cgo, native) with the Go toolchain GO (its
# bin/go; "-" for native) and takes the core of every case into OUT/PROGRAM/goX.Y/<build>.<mode>/{core,truth.txt},
# sparse, beside exe.<build>. For native the folder is named after the libc: OUT/native/glibc-2.36/.
#   BUILDS="dwarf stripped"  only these   ·   BUILD=0  the executables are there already
# A core by gcore stands in <build>.<mode>-gcore, one by kill -QUIT from outside in <build>.<mode>-quit. core_pattern must be "core". The folder's path is NT_FILE's path:
# choose a neutral one. A run whose planted state did not come about leaves no core and is named.
set -u
here=$(cd "$(dirname "$0")" && pwd); program=${1:?usage: take.sh PROGRAM GO OUT [MODE...]}; go=$2; out=$3; shift 3
src=$here/../$program; only=" $* "
case $(cat /proc/sys/kernel/core_pattern) in core|core.%p) ;; *) echo "core_pattern is not \"core\"" >&2; exit 2;; esac
ulimit -c unlimited
export GOENV=off GOTOOLCHAIN=local GOFLAGS= GO111MODULE=off GOPROXY=off
if [ "$program" = native ]; then ver=glibc-$(ldd --version | sed -n '1s/.* //p'); minor=0; builds=${BUILDS:-O0 O2 stripped static xxO0 xxO2 xxstripped tbO0 tbO2 tbstripped}
else
  minor=$("$go" version | sed -n 's/.* go1\.\([0-9]*\).*/\1/p'); ver=go1.$minor
  if [ "$program" = cgo ]; then builds=${BUILDS:-dwarf stripped}; else builds=${BUILDS:-dwarf stripped noopt}; fi
fi
mkdir -p "$out/$program/$ver"; d=$(cd "$out/$program/$ver" && pwd)

if [ "${BUILD:-1}" = 1 ]; then
  if [ "$program" = native ]; then "$src/build.sh" "$d" $builds || exit 1
  else
    t=$(mktemp -d) && mkdir "$t/$program" || exit 1; cp "$src"/*.go "$t/$program/"
    [ "$program" = cgo ] || cp "$here/../gocommon/truth.go" "$t/$program/truth.go"
    [ ! -f "$here/../gocommon/$program.go" ] || cp "$here/../gocommon/$program.go" "$t/$program/common_$program.go"
    for f in "$t/$program"/*_go1[0-9][0-9].go; do # by hand: Go 1.16 knows no "go:build"
      n=${f##*_go1}; [ ! -f "$f" ] || [ "$minor" -ge "${n%.go}" ] || rm "$f"; done
    cd "$t/$program" || exit 1
    if [ "$minor" -ge 21 ]; then export GO111MODULE=on GOFLAGS="-mod=mod -buildvcs=false"; printf 'module %s\n\ngo 1.%s\n' "$program" "$minor" >go.mod; p=.
    else p=$(echo *.go); fi
    cgo=0; [ "$program" != cgo ] || cgo=1
    for b in $builds; do
      case $b in dwarf) f=();; stripped) f=(-ldflags="-s -w");; noopt) f=(-gcflags="all=-N -l");; *) echo "no build $b" >&2; exit 2;; esac
      CGO_ENABLED=$cgo "$go" build -trimpath "${f[@]}" -o "$d/exe.$b" $p || exit 1
    done
    cd "$here"; rm -r "$t"
  fi
fi

bad=0
core() { # build mode how; three tries, because a race or a collision of addresses may spoil one
  local b=$1 m=$2 how=$3 c=$d/$1.$2 rc try
  case $how in gcore) c=$c-gcore;; signal) c=$c-quit;; esac
  for try in 1 2 3; do
    rm -rf "$c"; mkdir -p "$c"
    (cd "$c"
     if [ "$how" = gcore ] || [ "$how" = signal ]; then
       env -i PATH=/usr/bin:/bin GOTRACEBACK=crash "$d/exe.$b" "$m-hang" >.out 2>.err & p=$!
       for _ in $(seq 100); do grep -q READY .out && break; sleep 0.1; done
       sleep 0.2
       if [ "$how" = signal ]; then kill -QUIT $p; wait $p || echo $? >.rc
       else gcore -o full $p >.gcore 2>&1; kill -KILL $p; wait $p; cp --sparse=always full.$p core; rm -f full.$p .gcore; echo 0 >.rc; fi
     else
       env -i PATH=/usr/bin:/bin GOTRACEBACK=crash timeout -s KILL 30 sh -c 'exec "$0" "$1" >.out 2>.err' "$d/exe.$b" "$m" || echo $? >.rc
     fi) 2>/dev/null
    mv "$c"/core.* "$c/core" 2>/dev/null
    rc=$(cat "$c/.rc" 2>/dev/null || echo 0)
    # A core belongs to a run only if the mode got as far as writing its truth and died as it should.
    if [ -s "$c/core" ] && [ -s "$c/truth.txt" ] && ! grep -q 'not as planted' "$c/.err"; then
      { echo "stderr-begin (printed while it died)"; cat "$c/.err"; echo "stderr-end"; } >>"$c/truth.txt"
      chmod 644 "$c/core"; rm -f "$c"/.out "$c"/.err "$c"/.rc
      [ -z "${VERBOSE:-}" ] || echo "$ver ${c##*/} rc=$rc disk=$(du -k "$c/core" | cut -f1)K"
      return
    fi
    echo "$ver ${c##*/} rc=$rc NO CORE (try $try): $(head -c 200 "$c/.err" | tr '\n' ' ')" >&2
  done
  bad=1; rm -rf "$c"
}
for case in "$src"/cases/*/case.json; do
  m=$(basename "$(dirname "$case")"); [ "$only" = "  " ] || [[ $only == *" $m "* ]] || continue
  read -r since until hows cb < <(python3 -c '
import json, sys
c = json.load(open(sys.argv[1]))
print(c.get("go_since", 16), c.get("go_until", 99), ",".join(c["how"]), ",".join(c["builds"]))' "$case")
  [ "$program" = native ] || { [ "$minor" -ge "$since" ] && [ "$minor" -le "$until" ]; } || continue
  for b in $builds; do [[ ,$cb, == *,$b,* ]] || continue
    for how in ${hows//,/ }; do [ "$how" != gcore ] || [ "$b" = dwarf ] || [ "$b" = O2 ] || [ "$b" = xxO2 ] || continue; core "$b" "$m" "$how"; done; done
done
exit $bad
