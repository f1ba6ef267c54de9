#!/bin/bash
# toolchains.sh [MINOR...]: fetches Go toolchains into .cache/go/1.N of the repository (DEST=DIR for another folder),
# through the module proxy, as golang.org/toolchain modules. Default: 1.16 to 1.27. Needs any Go 1.21 or later to fetch
# with (GO=...). What cannot be had is named, and the exit code is then 3. About 250 to 500 MB of disk each.
set -u
here=$(cd "$(dirname "$0")" && pwd); dest=${DEST:-$here/../../.cache/go}; go=${GO:-go}
mkdir -p "$dest"; dest=$(cd "$dest" && pwd)
declare -A patch=([1.16]=15 [1.17]=13 [1.18]=10 [1.19]=13 [1.20]=14 [1.21]=13 [1.22]=12 [1.23]=12 [1.24]=13 [1.25]=12 [1.26]=8 [1.27]=1)
[ $# -gt 0 ] || set -- 1.16 1.17 1.18 1.19 1.20 1.21 1.22 1.23 1.24 1.25 1.26 1.27
missing=
for m in "$@"; do
  if [ -x "$dest/$m/bin/go" ]; then echo "go$m: $(GOENV=off GOTOOLCHAIN=local "$dest/$m/bin/go" version)"; continue; fi
  dir=
  for p in "${patch[$m]:-}" 13 12 10 5 1 0; do # the newest known patch first; proxies may lack it
    [ -n "$p" ] || continue
    dir=$(cd / && GOFLAGS= GOTOOLCHAIN=local "$go" mod download -json "golang.org/toolchain@v0.0.1-go$m.$p.linux-amd64" 2>/dev/null | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    [ -z "$dir" ] || break
  done
  if [ -z "$dir" ]; then echo "go$m: CANNOT BE HAD from the module proxy: skipped" >&2; missing="$missing $m"; continue; fi
  # The module cache is read-only, and module files carry no x bit.
  cp -r "$dir" "$dest/.$m.part" && chmod -R u+w "$dest/.$m.part" && chmod +x "$dest/.$m.part"/bin/* "$dest/.$m.part"/pkg/tool/*/* && mv "$dest/.$m.part" "$dest/$m"
  if GOENV=off GOTOOLCHAIN=local "$dest/$m/bin/go" version >/dev/null 2>&1; then echo "go$m: $(GOENV=off GOTOOLCHAIN=local "$dest/$m/bin/go" version)"; else echo "go$m: fetched but does not run: skipped" >&2; rm -rf "${dest:?}/$m"; missing="$missing $m"; fi
done
[ -z "$missing" ] || { echo "toolchains.sh: missing:$missing" >&2; exit 3; }
