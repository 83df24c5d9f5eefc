#!/bin/bash
# Sources and the headers of the header libraries in one file, for a machine that has a GPU, a compiler and nvcc, and no
# network: FILE, by default build/fission-bundle.tar.gz. There:
#   tar xf fission-bundle.tar.gz && cd fission && make gpu-check CPPFLAGS=-Iheaders
#   CXX=g++ CPPFLAGS= tests/tools/bundle.sh [FILE]      (make bundle)
set -eu -o pipefail
cd "$(dirname "$0")/../.."
file=$(realpath -m "${1:-build/fission-bundle.tar.gz}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/fission/headers" "$(dirname "$file")"
{ git ls-files 2>/dev/null || find . -type f -not -path './build/*'; } | tar cf - -T - | tar xf - -C "$work/fission"
# what each of them includes of its own
for header in CLI/CLI.hpp nlohmann/json.hpp doctest/doctest.h stb/stb_image.h stb/stb_image_write.h; do
  used=$(echo "#include <$header>" | "${CXX:-g++}" ${CPPFLAGS:-} -std=c++17 -M -x c++ - 2>/dev/null) ||
    { echo "bundle: <$header> was not found: make deps, or CPPFLAGS=-IDIR"; exit 2; }
  for path in $used; do
    case $path in */"${header%%/*}"/*) install -D -m 644 "$path" "$work/fission/headers/${header%%/*}/${path##*/"${header%%/*}"/}" ;; esac
  done
done
tar czf "$file" -C "$work" fission
echo "$file: $(($(stat -c %s "$file") / 1024)) KiB; there: tar xf ${file##*/} && cd fission && make gpu-check CPPFLAGS=-Iheaders"
