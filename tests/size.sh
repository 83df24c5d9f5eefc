#!/bin/bash
# How much code there is, by folder: characters of C++ and CUDA without white space and comments, in thousands. Fails above the
# ceilings of tests/size.txt. They only ever fall, or rise in a commit that says for what.
#   bash tests/size.sh      (make size)
set -eu -o pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/.."
size() {  # FOLDER...
  find "$@" -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | sort |
    xargs -n 40 cat | "${CXX:-g++}" -fpreprocessed -dD -E -P -x c++ - 2>/dev/null | tr -d '[:space:]' | wc -m
}
show() { printf '%-24s%5d k\n' "$1" $(($2 / 1000)); }
for folder in tensor autograd nn split data runners tests; do
  show "$folder/" "$(size $folder)"
done
status=0
while read -r what ceiling folders; do
  now=$(size $folders)
  show "$what" "$now"
  if [ "$now" -gt "$ceiling" ]; then
    echo "size: $what: $now characters, expected at most $ceiling (tests/size.txt)"
    status=1
  fi
done < <(grep -v '^#' tests/size.txt)
exit $status
