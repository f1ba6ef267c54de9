#!/bin/bash
# pack.sh DIR FILE.tar.zst: packs the executables and cores in DIR, with a SHA256SUMS of them; holes stay holes.
set -eu
d=${1:?usage: pack.sh DIR FILE.tar.zst}; f=${2:?usage: pack.sh DIR FILE.tar.zst}
(cd "$d" && sha256sum exe.* */core >SHA256SUMS)
(cd "$d" && tar -S --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - SHA256SUMS exe.* *.*/) | zstd -19 --long=27 -T0 -q -f -o "$f"
ls -l "$f"
