#!/bin/bash
# unpack.sh DEST [BUNDLE...]: unpacks corpora/bundles/BUNDLE.tar.zst (default: all of them) into DEST/BUNDLE, with the
# holes of the cores kept. The pack is verified against bundles/SHA256SUMS. What is there already stays as it is:
# DEST/BUNDLE/.unpacked holds the sum of the pack it came from. FULL=1 also verifies the files by the pack's own
# SHA256SUMS; with the probe packs that hashes every hole, some gigabytes.
#   unpack.sh build/corpora                     every bundle
#   unpack.sh build/corpora go1.16 locks-go1.27
set -eu
here=$(cd "$(dirname "$0")" && pwd); bundles=$here/../bundles
dest=${1:?usage: unpack.sh DEST [BUNDLE...]}; shift
mkdir -p "$dest"; dest=$(cd "$dest" && pwd)
command -v zstd >/dev/null || { echo "unpack.sh: zstd is missing (Debian: apt install zstd)" >&2; exit 2; }
[ $# -gt 0 ] || set -- $(cd "$bundles" && ls *.tar.zst | sed 's/\.tar\.zst$//')
exec 9>"$dest/.lock"; flock 9 # parallel tests may all ask for the same bundle
for b in "$@"; do
  f=$bundles/$b.tar.zst; [ -f "$f" ] || { echo "unpack.sh: no bundle $b" >&2; exit 2; }
  sum=$(sha256sum <"$f" | cut -d' ' -f1)
  want=$(awk -v n="$b.tar.zst" '$2==n {print $1}' "$bundles/SHA256SUMS")
  [ "$sum" = "$want" ] || { echo "unpack.sh: $b.tar.zst differs from bundles/SHA256SUMS" >&2; exit 1; }
  d=$dest/$b
  if [ "$(cat "$d/.unpacked" 2>/dev/null)" = "$sum" ]; then
    [ "${FULL:-0}" = 0 ] || (cd "$d" && sha256sum -c --quiet SHA256SUMS)
    continue
  fi
  rm -rf "$d" "$d.part"; mkdir -p "$d.part"
  zstd -q -dc --long=27 "$f" | tar -xSf - -C "$d.part" --no-same-owner
  [ "${FULL:-0}" = 0 ] || (cd "$d.part" && sha256sum -c --quiet SHA256SUMS)
  echo "$sum" >"$d.part/.unpacked"; mv "$d.part" "$d"; echo "$b -> $d"
done
