#!/bin/bash
# Installs the Debian packages that the build and the tests need, `setup.sh lint` and `setup.sh fuzz` also those of that
# target; does nothing, quickly, when they are there.
# Uses sudo when not root. Needs network to Debian's packages only.
set -euo pipefail

required=(
  g++ make cmake ninja-build pkg-config git                        # build
  libelf-dev libdw-dev libcapstone-dev libarchive-dev libfmt-dev rapidjson-dev libcli11-dev
  libgtest-dev libgmock-dev python3 python3-dev python3-venv pybind11-dev zstd  # tests and corpora
  libtomlplusplus-dev libxxhash-dev libzstd-dev
  gdb elfutils xz-utils lz4
)
# Speed and the debuggers' front-ends: tests that need them are skipped, and say so, when they cannot be had.
optional=(ccache liblldb-19-dev lldb-19 python3-lldb-19 libbenchmark-dev)

case ${1-} in
  lint) required+=(clang-format-19 clang-tidy-19) ;;
  fuzz) required+=(clang-19 libclang-rt-19-dev) ;;
esac

missing() { for p in "$@"; do dpkg-query -W -f='${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || echo "$p"; done; }

mapfile -t need < <(missing "${required[@]}")
mapfile -t want < <(missing "${optional[@]}")
[ ${#need[@]} -gt 0 ] || [ ${#want[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  [ ${#need[@]} -eq 0 ] || { echo "setup: these Debian packages are missing and there is no apt-get: ${need[*]}" >&2; exit 1; }
  exit 0
fi
sudo=(); [ "$(id -u)" -eq 0 ] || sudo=(sudo)
export DEBIAN_FRONTEND=noninteractive
echo "setup: installing ${need[*]-} ${want[*]-}" >&2
"${sudo[@]}" apt-get update -qq
[ ${#need[@]} -eq 0 ] || "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
for p in "${want[@]}"; do
  "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$p" >/dev/null 2>&1 || echo "setup: SKIPPED optional package $p: not available" >&2
done
