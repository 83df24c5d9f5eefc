#!/bin/bash
# The same step here and in PyTorch, in turns on the same machine: medians, their ratio, and the peak memory of each.
#   bash tests/peers/compare.sh [ROUNDS] [WIDTHS]      e.g. bash tests/peers/compare.sh 5 "seed 0.5 1.0"
# PyTorch runs in its faster layout (--channels-last). Needs build/bench and a Python that has torch.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-5} widths=${2:-seed 0.5 1.0} bench=${BUILD:-build}/bench
for python in /usr/bin/python3 python3 ''; do [ -n "$python" ] && $python -c 'import torch' 2>/dev/null && break; done
[ -n "$python" ] || { echo 'compare: no PyTorch (apt: python3-torch; or pip: torch)' >&2; exit 2; }
out=$(mktemp)
trap 'rm -f "$out"' EXIT
ours() { "$bench" --json --widths "$1" --jobs "$2" | sed -nE 's/.*"ms":([0-9.]+).*"peak_mib":([0-9.]+).*/\1 \2/p'; }
theirs() { # unfolding is far slower in channels-last: there PyTorch gets its other layout
  $python tests/peers/bench_torch.py $([ "$2" = rq-unfold ] || echo --channels-last) --width "$1" --only "$2" | sed -nE 's/.*: ([0-9.]+) ms, peak ([0-9.]+) MiB.*/\1 \2/p'; }
for width in $widths; do
  for ((i = 0; i < rounds; i++)); do
    for job in train:train rq-paper:rq rq-chain:rq rq-paper:rq-unfold; do
      [ "$i" -gt 1 ] && [ "${job#*:}" = rq-unfold ] && continue  # it is slow, and far behind
      echo "$width ${job%:*} ${job#*:} $(ours "$width" "${job%:*}") $(theirs "$width" "${job#*:}")" | tee -a "$out" >&2
    done
  done
done
echo 'width  job       PyTorch job  ms here  ms PyTorch  times as fast  MiB here  MiB PyTorch'
sort -k1,3 -s "$out" | awk 'function median(a, n,   i, j, t) { for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j - 1] > a[j]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }; return a[int((n + 1) / 2)] }
  function flush() { if (n) printf "%-6s %-9s %-12s %7.1f %11.1f %14.2f %9.0f %12.0f\n", w, j, p, median(a, n), median(b, n), median(r, n), m, q; n = 0 }
  $1 " " $2 " " $3 != key { flush(); key = $1 " " $2 " " $3; w = $1; j = $2; p = $3 }
  { n++; a[n] = $4; b[n] = $6; r[n] = $6 / $4; m = $5; q = $7 } END { flush() }'
