#!/bin/bash
# pack.sh DIR FILE.tar.zst: packs the executables and cores in DIR; holes stay holes. SHA256SUMS in the pack names the
# executables only: the cores' holes would cost gigabytes of hashing, and the pack's own sum covers them.
# BUILDS="dwarf stripped" packs these builds only. SKIP="mode build.mode" leaves these out. LEVEL: of zstd.
set -eu
d=${1:?usage: pack.sh DIR FILE.tar.zst}; f=$(realpath "${2:?usage: pack.sh DIR FILE.tar.zst}"); cd "$d"
what=(); exes=()
for e in exe.*; do b=${e#exe.}
  [[ " ${BUILDS:-$b} " == *" $b "* ]] || continue
  exes+=("$e")
  for c in "$b".*/; do m=${c#*.}; [ ! -d "$c" ] || [[ " ${SKIP:-} " == *" ${m%/} "* || " ${SKIP:-} " == *" ${c%/} "* ]] || what+=("${c%/}"); done
done
sha256sum "${exes[@]}" >SHA256SUMS
tar -S --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - SHA256SUMS "${exes[@]}" "${what[@]}" | zstd -"${LEVEL:-19}" --long=27 -T0 -q -f -o "$f"
ls -l "$f"
