#!/bin/bash
# Would the tests notice? Applies each line of tests/mutants.txt alone, in a copy under build/, and runs the tests that
# split/METHOD.md names for its equation: one of them must fail. Ends with the survivors; status 1 if there are any.
#   bash tests/mutants.sh [EQUATION ...]      e.g. bash tests/mutants.sh E9 E11
set -eu -o pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build} tree=$build/mutants
[ -x "$build/tests" ] || { echo "mutants: $build/tests is not there (make mutants builds it)" >&2; exit 2; }
rm -rf "$tree" && mkdir -p "$tree/build"
cp -a Makefile tensor autograd nn split data runners tests "$tree"
find "$build" -maxdepth 1 -mindepth 1 \( -name obj -o -type f \) -exec cp -a -t "$tree/build" {} +  # with their times: only what a mutant changes is compiled again
tests_of() {  # the names of an equation's tests as a doctest filter, in which a comma would end a name
  awk -v RS= -v e="- **$1** " 'index($0, e) == 1 { gsub(/\n */, " "); print }' split/METHOD.md | grep -o '"[^"]*"' | tr -d '"' | tr ',' '?' | paste -sd,
}
all=$(cut -sf1 tests/mutants.txt | sort -u | while read -r e; do tests_of "$e"; done | paste -sd,)
(cd "$tree" && build/tests -tc="$all" >log 2>&1) || { tail -n 20 "$tree/log"; echo "mutants: these tests fail before anything is changed" >&2; exit 2; }
killed=0 survivors=()
while IFS=$'\t' read -r equation file old new; do
  case $equation in '#'* | '') continue ;; esac
  [ $# = 0 ] || [[ " $* " = *" $equation "* ]] || continue
  text=$(<"$file")
  rest=${text#*"$old"}
  if [ "$rest" = "$text" ] || [ "${rest#*"$old"}" != "$rest" ]; then echo "mutants: $file: '$old' does not stand there once" >&2; exit 2; fi
  printf '%s\n' "${text%%"$old"*}$new$rest" >"$tree/$file"
  make -s -C "$tree" BUILD=build all build/tests >"$tree/log" 2>&1 || { tail -n 5 "$tree/log"; echo "mutants: $equation, $file: '$new' does not compile" >&2; exit 2; }
  filter=$(tests_of "$equation")
  if (cd "$tree" && build/tests -tc="$filter" >log 2>&1); then
    survivors+=("$equation $file: $old → $new")
    echo "SURVIVES  $equation  $file: $old → $new"
  else
    killed=$((killed + 1))
    echo "noticed   $equation  $file: $old → $new"
  fi
  cp "$file" "$tree/$file"
done <tests/mutants.txt
rm -rf "$tree"
echo "mutants: $killed noticed, ${#survivors[@]} survived"
[ ${#survivors[@]} = 0 ]
