#!/bin/bash
# Runs the libFuzzer targets of tests/fuzz under ASan and UBSan, one after the other, and stops at the first crash.
#   FUZZ="core store"   which of them (all)     FUZZ_SECONDS=120   of each     JOBS=2   compilers at a time
# What a run has learnt stays in build-fuzz/found/TARGET. An input that breaks something: mend it, and keep the input in
# tests/fuzz/found/TARGET, from where ctest replays it.
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra targets <<<"${FUZZ:-$(cd tests/fuzz && ls -- *_fuzz.cpp | sed 's/_fuzz.cpp//' | tr '\n' ' ')}"
seconds=${FUZZ_SECONDS:-120}
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "${JOBS:-$(nproc)}" --target "${targets[@]/#/fuzz_}" "${targets[@]/#/replay_}"
for target in "${targets[@]}"; do
  learnt=build-fuzz/found/$target log=build-fuzz/$target.log
  build-fuzz/tests/fuzz/replay_"$target" --write-seeds "$learnt"
  seeds=("$learnt"); [ ! -d tests/fuzz/found/"$target" ] || seeds+=(tests/fuzz/found/"$target")
  read -ra options < <(sed -n 's|^// fuzzer options: ||p' tests/fuzz/"$target"_fuzz.cpp)
  echo "fuzz: $target, $seconds s"
  build-fuzz/tests/fuzz/fuzz_"$target" "${options[@]}" -max_total_time="$seconds" -artifact_prefix="build-fuzz/$target-" -print_final_stats=1 \
    "${seeds[@]}" 2>"$log" || { tail -60 "$log" >&2; exit 1; }
  grep -E '^stat::(number_of_executed_units|peak_rss_mb)' "$log"
done
