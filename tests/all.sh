#!/bin/bash
# Every test there is: the test cases of each file of tests/, and the scripts tests/*.sh, as many at a time as there are
# processors. A line for each that passes; all that is said by one that fails. At the end what this machine could not try:
# no test is skipped in silence.
#   BUILD=build bash tests/all.sh [OPTIONS OF build/tests]      (make test; with options one process runs what they choose)
#   CASES=1: no scripts      JOBS=2: so many at a time
set -eu -o pipefail
cd "$(dirname "$0")/.."
export build=${BUILD:-build}
export BUILD=$build results=$build/test-results
if [ $# != 0 ]; then exec "$build/tests" "$@"; fi
rm -rf "$results"
mkdir -p "$results"

listed=$("$build/tests" -r=xml -ltc | grep -o 'filename=.*')
files=$(sed -E 's/filename="([^"]*)".*/\1/' <<<"$listed" | sort -u)
scripts=$(ls tests/*.sh | grep -vE '/(all|extra|fresh|mutants|size)\.sh$')
if [ "${SANITIZE:-}" ]; then scripts=$(grep -v makefile.sh <<<"$scripts"); fi  # it runs no code of ours
if [ "${CASES:-}" ]; then scripts=; fi
# the long ones first
jobs=$({ printf '%s\n' $scripts; grep tests/cuda/ <<<"$files"; grep tests/runners/ <<<"$files"; printf '%s\n' $files; } | awk '!seen[$0]++')

run() {  # FILE COUNT
  local log=$results/${1//\//-}.log status=0 start=$SECONDS mark=✓
  case $1 in
    *.sh) env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL bash "$1" ;;
    *) OMP_WAIT_POLICY=passive "$build/tests" -sf="*$1" ;;
  esac >"$log" 2>&1 </dev/null || status=$?
  if [ $status != 0 ]; then
    mark=✗
    echo "$1" >>"$results/failed"
  fi
  {
    flock 9
    echo x >>"$results/done"
    if [ $status != 0 ]; then cat "$log"; fi
    echo "$mark $(wc -l <"$results/done")/$2 $1 ($((SECONDS - start)) s; $(($(date +%s) - begun)) s in all)"
  } 9>"$results/lock"
}
export -f run
export begun=$(date +%s)
tr ' ' '\n' <<<$jobs | xargs -P "${JOBS:-$(nproc)}" -I {} bash -c "run {} $(wc -w <<<$jobs)"

count() {  # WORD: the sum of doctest's own counts
  cat "$results"/*.cpp.log | awk -v word="$1" '/^\[doctest\] test cases:/ { for (i = 1; i < NF; i++) if ($(i + 1) == word) n += $i } END { print n + 0 }'
}
cases=$(grep -c 'skipped="true"' <<<"$listed" || true)
skipped=$({ grep -ohE 'skipped: .*' "$results"/*.log || true; } | sort -u)
echo
if [ "$skipped" ] || [ "$cases" != 0 ]; then
  echo 'Not tried here:'
  if [ "$skipped" ]; then sed 's/^skipped: /  /' <<<"$skipped"; fi
  if [ "$cases" != 0 ]; then echo "  $cases test cases that need CUDA's headers (make probe)"; fi
  echo 'make test-extra tries what needs other programs, or a user who is not root; make deps installs libraries.'
fi
failures=$(sort "$results/failed" 2>/dev/null || true)
echo "test cases: $(count passed) passed, $(count failed) failed, $cases skipped${failures:+; failed: "$(tr '\n' ' ' <<<"$failures")"}"
[ -z "$failures" ]
