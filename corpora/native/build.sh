#!/bin/bash
# build.sh DIR [BUILD...]: the C program as exe.O0 exe.O2 exe.stripped (O2 without symbols) exe.static, the C++ program
# as exe.xxO0 exe.xxO2 exe.xxstripped, the one of hash tables as exe.tbO0 exe.tbO2 exe.tbstripped. CC and CXX choose the compilers.
set -eu
here=$(cd "$(dirname "$0")" && pwd); d=${1:?usage: build.sh DIR [BUILD...]}; shift
[ $# -gt 0 ] || set -- O0 O2 stripped static xxO0 xxO2 xxstripped tbO0 tbO2 tbstripped
cc=${CC:-gcc} cxx=${CXX:-g++}
# The deliberate faults are what compilers warn of.
w="-Wall -Wno-use-after-free -Wno-dangling-pointer -Wno-free-nonheap-object -Wno-array-bounds -Wno-stringop-overflow -Wno-infinite-recursion -Wno-maybe-uninitialized"
map="-ffile-prefix-map=$here=native -fno-record-gcc-switches"
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
c="main.c modes_c.c locks.c heap.c frames.c"
cd "$here"
for b in "$@"; do
  case $b in
  O0) $cc -O0 -g $w $map -pthread -o "$d/exe.$b" $c;;
  O2) $cc -O2 -g $w $map -pthread -o "$d/exe.$b" $c;;
  stripped) $cc -O2 $w $map -pthread -s -o "$d/exe.$b" $c;;
  static) $cc -O2 -g $w $map -pthread -static -o "$d/exe.$b" $c;;
  xxO0|xxO2|xxstripped|tbO0|tbO2|tbstripped)
    case $b in ??O0) o="-O0 -g";; ??O2) o="-O2 -g";; *) o="-O2 -s";; esac
    case $b in xx*) modes=modes_cxx.cpp;; *) modes=modes_tables.cpp;; esac
    $cc $o $w $map -pthread -c -o "$t/main.o" main.c
    $cxx $o $w $map -std=c++17 -pthread -o "$d/exe.$b" "$t/main.o" $modes;;
  *) echo "no build $b" >&2; exit 2;;
  esac
done
