#!/bin/bash
# Every test there is, and at the end what this machine could not try: no test is skipped in silence.
#   BUILD=build bash tests/all.sh [OPTIONS OF build/tests]      (make test)
set -eu -o pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build} log=$build/tests.log
export BUILD=$build
{
  "$build/tests" "$@"
  for script in tests/*.sh; do
    case $script in tests/all.sh | tests/extra.sh | tests/fresh.sh | tests/mutants.sh) continue ;; esac
    if [ "${SANITIZE:-}" ] && [ $script = tests/makefile.sh ]; then continue; fi  # it runs no code of ours
    echo "$script"
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL bash $script
  done
} 2>&1 | tee "$log"
skipped=$({ grep -oE 'skipped: .*' "$log" || true; } | sort -u)
cases=$(sed -nE 's/^\[doctest\] test cases:.*[^0-9]([1-9][0-9]*) skipped.*/\1/p' "$log")
if [ "$skipped$cases" ]; then
  echo
  echo 'Not tried here:'
  if [ "$skipped" ]; then sed 's/^skipped: /  /' <<<"$skipped"; fi
  if [ "$cases" ]; then echo "  $cases test cases that FLAGS leaves out, or that need CUDA's headers (make probe)"; fi
  echo 'make test-extra tries what needs other programs, or a user who is not root; make deps installs libraries.'
fi
