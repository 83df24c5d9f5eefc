#!/bin/bash
# Does energy-awareness pay? Arms that differ in one choice grow from the same seed networks to the same MACs, and a table
# says what the choice was worth, paired by seed network. Finished runs are kept: the same command goes on. Rows that were
# finished elsewhere with the same settings are taken from ROWS, and their arms not run again.
#   DATA=DIR runners/study.sh [table]     table: only the table, of what has finished
# OUT=runs/study  SEEDS=5 (of the two contrasts)  FEW=2 (of the other arms)  EPOCHS=10 TUNE=5 RQ=2  JOBS=1 THREADS=1  ROWS=runners/study.csv
# TARGETS=820000,1230000,1850000 (MACs a picture, one a round)  SCALED=0.185 (full widths times this: just under the last)
set -eu -o pipefail
cifar=${BUILD:-build}/cifar OUT=${OUT:-runs/study} SEEDS=${SEEDS:-5} FEW=${FEW:-2} EPOCHS=${EPOCHS:-10} TUNE=${TUNE:-5} RQ=${RQ:-2}
TARGETS=${TARGETS:-820000,1230000,1850000} SCALED=${SCALED:-0.185} JOBS=${JOBS:-1} THREADS=${THREADS:-1}
ROWS=${ROWS:-runners/study.csv} settings="# EPOCHS=$EPOCHS TUNE=$TUNE RQ=$RQ TARGETS=$TARGETS SCALED=$SCALED FLAGS=${FLAGS:-}"
rounds=$(($(printf %s "$TARGETS" | tr -cd , | wc -c) + 1))

declare -A arm=(
  [energy]=''                                   # this project's defaults: E12 with exact ΔMACs, the chain's matrix
  [vanilla]='--selection vanilla'               # no energy: the least splitting indices
  [paper-matrix]='--curvature paper'            # E6 in place of E6c
  [random]='--selection random'                 # which neurons: by chance; their directions still RQ-SGD's
  [paper-energy]='--energy paper --energy-scale sqrt'
)
one() {  # ARM SEED: one growth, or one network trained from scratch for as many epochs as a growth takes
  local out=$OUT/$1-$2 log=$OUT/$1-$2.log data="--data ${DATA:?the folder of the published binary files} ${FLAGS:-} --threads $THREADS --seed $2"
  case $1 in
    seed) "$cifar" $data --epochs "$EPOCHS" --rounds 0 --out "$out" ;;
    scaled) "$cifar" $data --epochs $((EPOCHS + rounds * TUNE)) --rounds 0 --widths "$SCALED" --out "$out" ;;
    *) "$cifar" $data --start "$OUT/seed-$2/round-0.safetensors" --rounds "$rounds" --grow 1 --target-macs "$TARGETS" \
         --tune-epochs "$TUNE" --rq-epochs "$RQ" ${arm[$1]} --out "$out" ;;
  esac >>"$log" 2>&1 || { echo "study: $1, seed $2: failed, see $log" >&2; return 1; }
  echo "study: $1, seed $2: done, $(date +%H:%M)"
}
known() { [ -f "$ROWS" ] && [ "$(head -n 1 "$ROWS")" = "$settings" ]; }
missing() { ! known || ! grep -q "^$1,$2,$rounds," "$ROWS"; }
if [ "${1:-}" = one ]; then one "$2" "$3"; exit; fi
if [ "${1:-}" != table ]; then
  mkdir -p "$OUT"
  for ((s = 1; s <= SEEDS; s++)); do echo "seed $s"; done | xargs -P "$JOBS" -L 1 bash "$0" one
  { for ((s = 1; s <= SEEDS; s++)); do for a in energy vanilla paper-matrix; do ! missing $a $s || echo "$a $s"; done; done
    for ((s = 1; s <= FEW; s++)); do for a in scaled random paper-energy; do ! missing $a $s || echo "$a $s"; done; done; } | xargs -P "$JOBS" -L 1 bash "$0" one
fi

# arm,seed,round,MACs,top-1 of every round that has finished, after a line that says by which settings
{ for csv in "$OUT"/*-*/results.csv; do
  name=$(basename "$(dirname "$csv")")
  awk -F, -v a="${name%-*}" -v s="${name##*-}" -v last="$rounds" 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
    { r = a == "scaled" ? last : $c["round"]; if ($c["test_top1_tuned"] > 0) print a "," s "," r "," $c["macs"] "," $c["test_top1_tuned"] }' "$csv"
done; ! known || tail -n +2 "$ROWS"; } | awk -F, '!seen[$1 FS $2 FS $3]++' | sort | { echo "$settings"; cat; } >"$OUT/rows.csv"
awk -F, -v rounds="$rounds" '
  function mean_and_error(list, n,   i, x, m, v) { m = v = 0; split(list, x, " "); for (i = 1; i <= n; i++) m += x[i] / n
    for (i = 1; i <= n; i++) v += (x[i] - m) ^ 2; mean = m; error = n > 1 ? sqrt(v / (n - 1) / n) : 0 }
  BEGIN { split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 2.120 2.110 2.101 2.093", t, " ") }
  /^#/ { next }
  { key = $1 "," $3; all[key] = all[key] " " 100 * $5; n[key]++; macs[key] += $4; top1[$1, $2, $3] = 100 * $5; if ($2 > seeds) seeds = $2 }
  END {
    print "| arm | round | networks | M MACs | top-1 %, mean ± standard error |\n|---|---|---|---|---|"
    split("seed energy vanilla paper-matrix random paper-energy scaled", arms, " ")
    for (i = 1; i in arms; i++) for (r = 0; r <= rounds; r++) { key = arms[i] "," r
      if (!(key in n) || (r == 0 && arms[i] != "seed")) continue
      mean_and_error(all[key], n[key])
      printf "| %s | %d | %d | %.3f | %.2f%s |\n", arms[i], r, n[key], macs[key] / n[key] / 1e6, mean, (n[key] > 1 ? sprintf(" ± %.2f", error) : "") }
    print "\n| contrast, paired by seed network | round | pairs | mean difference in points | 95 % interval (t) | |\n|---|---|---|---|---|---|"
    for (i = 3; i <= 6; i++) for (r = 1; r <= rounds; r++) {
      m = 0; list = ""
      for (s = 1; s <= seeds; s++) if (("energy", s, r) in top1 && (arms[i], s, r) in top1) { m++; list = list " " (top1["energy", s, r] - top1[arms[i], s, r]) }
      if (m < 2) continue
      mean_and_error(list, m); h = t[m - 1] * error
      printf "| energy − %s | %d | %d | %+.2f | %+.2f … %+.2f | %s |\n", arms[i], r, m, mean, mean - h, mean + h, ((mean - h) * (mean + h) > 0 ? "resolved" : "not resolved") }
  }' "$OUT/rows.csv"
