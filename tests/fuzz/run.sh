#!/bin/bash
# Each reader of tests/fuzz/readers.cpp for LIMIT seconds, as many at a time as there are processors. What is found stands in
# BUILD/NAME-crash-…, and is tried again by  FISSION_READER=NAME BUILD/readers BUILD/NAME-crash-…
#   LIMIT=60 READERS="idx gzip" SEED=1 BUILD=build/fuzz bash tests/fuzz/run.sh      (make fuzz)
set -eu -o pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build/fuzz}
mkdir -p "$build"
if ! command -v clang++ >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then echo "fuzz: clang++ was not found (Debian: clang)"; exit 2; fi
  { apt-get update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends clang libclang-rt-14-dev; } </dev/null >"$build/deps.log" 2>&1 ||
    { tail -n 5 "$build/deps.log"; exit 2; }
fi
# What computes is not tried here: without oneDNN, OpenMP and MPI.
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory CXX=clang++ SANITIZE=fuzzer BUILD="$build" HAVE_ONEDNN= HAVE_OPENMP= HAVE_MPI= "$build/readers" \
  LIBRARY="$(echo tensor/*.cpp tensor/reference/*.cpp tensor/cuda/*.cpp {autograd,nn,nn/io,split,data}/*.cpp runners/{common,growth}/*.cpp)"
known=$("$build/readers")
one() {
  set -eu
  mkdir -p "$build/$1"
  if ! FISSION_READER=$1 FISSION_SEEDS=$build/$1 "$build/readers" "$build/$1" -seed="$SEED" -max_total_time="$LIMIT" -max_len=131072 \
    -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=256 -artifact_prefix="$build/$1-" >"$build/$1.log" 2>&1; then
    echo "fuzz: $1: found something ($build/$1.log)"
    grep -m 1 -E 'ERROR|fuzz:|runtime error' "$build/$1.log" || tail -n 3 "$build/$1.log"
    return 1
  fi
  sed -nE "s/^Done ([0-9]+) runs in ([0-9]+) second.*/fuzz: $1: \1 inputs in \2 s, nothing found/p" "$build/$1.log"
}
export -f one
export build LIMIT=${LIMIT:-60} SEED=${SEED:-1}
for reader in ${READERS:-$known}; do
  grep -qx "$reader" <<<"$known" || { echo "fuzz: no reader $reader; there are: "$known; exit 2; }
done
printf '%s\n' ${READERS:-$known} | xargs -P "$(nproc)" -I {} bash -c 'one {}'
