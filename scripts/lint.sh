#!/bin/bash
# clang-format and clang-tidy 19 over our own sources; FILES="src/a.cpp …" checks those alone. One finding fails it.
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra files <<<"${FILES-}"
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(git ls-files 'src/*.cpp' 'src/*.h' 'tests/*.cpp' 'tests/*.h' 'lldb-plugin/*.cpp' 'lldb-plugin/*.h')
clang-format-19 --dry-run --Werror "${files[@]}"
[ -f build/compile_commands.json ] || cmake --preset release >/dev/null
# clang reads what version 1.1.0 of rapidjson/document.h never calls (cmake/warnings.cmake).
tidy() {
  local late=()
  ! grep -q rapidjson/document.h "$1" || late=(--extra-arg=-fdelayed-template-parsing --extra-arg=-Wno-delayed-template-parsing-in-cxx20)
  clang-tidy-19 -p build --quiet --warnings-as-errors='*' "${late[@]}" "$1"
}
export -f tidy
known() { grep -F "\"$PWD/$1\"" build/compile_commands.json >/dev/null; }  # not so: the plugin where liblldb is missing
for file in "${files[@]}"; do
  case $file in src/*.cpp | lldb-plugin/*.cpp) if known "$file"; then echo "$file"; else echo "lint: SKIPPED $file, not built here" >&2; fi ;; esac
done | xargs -r -P "$(nproc)" -n 1 bash -c 'tidy "$0"'
