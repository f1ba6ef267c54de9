#!/bin/bash
# clang-format and clang-tidy over our own sources. Skipped, and said, where clang 19 is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-format-19 >/dev/null || { echo "lint: SKIPPED, clang-format-19 is not installed" >&2; exit 0; }
mapfile -t files < <(git ls-files 'src/*.cpp' 'src/*.h' 'tests/*.cpp' 'tests/*.h' 'lldb-plugin/*.cpp' 'lldb-plugin/*.h')
clang-format-19 --dry-run --Werror "${files[@]}"
command -v clang-tidy-19 >/dev/null || { echo "lint: clang-tidy SKIPPED, it is not installed" >&2; exit 0; }
[ -f build/compile_commands.json ] || cmake --preset release >/dev/null
printf '%s\n' "${files[@]}" | grep '^src/.*\.cpp$' | xargs -P "$(nproc)" -n 4 clang-tidy-19 -p build --quiet
