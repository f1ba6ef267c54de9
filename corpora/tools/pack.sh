#!/bin/bash
# pack.sh DIR FILE.tar.zst: packs the executables and cores in DIR, with a SHA256SUMS of them; holes stay holes.
# BUILDS="dwarf stripped" packs these builds only. Leave out what is in SKIP="mode mode" (any build).
set -eu
d=${1:?usage: pack.sh DIR FILE.tar.zst}; f=$(realpath "${2:?usage: pack.sh DIR FILE.tar.zst}"); cd "$d"
what=()
for e in exe.*; do b=${e#exe.}
  [[ " ${BUILDS:-$b} " == *" $b "* ]] || continue
  what+=("$e")
  for c in "$b".*/; do m=${c#*.}; [ ! -d "$c" ] || [[ " ${SKIP:-} " == *" ${m%/} "* ]] || what+=("${c%/}"); done
done
sums=(); for w in "${what[@]}"; do if [ -d "$w" ]; then sums+=("$w/core"); else sums+=("$w"); fi; done
sha256sum "${sums[@]}" >SHA256SUMS
tar -S --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - SHA256SUMS "${what[@]}" | zstd -${LEVEL:-19} --long=27 -T0 -q -f -o "$f"
ls -l "$f"
