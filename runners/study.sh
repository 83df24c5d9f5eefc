#!/bin/bash
# Does growing pay? Arms that differ in one choice end at the same MACs; runners/study.awk compares
# them, paired by seed. What is compared, and how, was fixed here before the first run:
#   contrast   energy − each other arm, in the last round, of one data set and recipe
#   interval   95 %, Student's t over the pairs; "resolved" by Holm's correction over these contrasts
#   bar        energy − scaled-cost: the interval's lower end above −0.5 points
# Finished runs are kept, and so are rows that stand in ROWS already: the same command goes on.
#   DATA=DIR runners/study.sh [table]     table: only the tables, of what has finished
# DATASET=cifar100  RECIPE=short (short-third, paper-40, paper-160)  SEEDS="1 2 3 4 5"  ARMS="energy scaled-cost …"
# OUT=runs/study  ROWS=runners/study.csv  JOBS=1  THREADS=1  FLAGS= (options of every run)  GROWTH= (of growths alone)
# TARGETS=820000,1230000,1850000 (MACs per image, one a round)  SCALED=0.185 (of the full widths: the last)
set -eu -o pipefail
here=$(dirname "$0") build=${BUILD:-build}
DATASET=${DATASET:-cifar100} RECIPE=${RECIPE:-short} SEEDS=${SEEDS:-1 2 3 4 5}
OUT=${OUT:-runs/study} ROWS=${ROWS:-runners/study.csv} JOBS=${JOBS:-1} THREADS=${THREADS:-1}
TARGETS=${TARGETS:-820000,1230000,1850000} SCALED=${SCALED:-0.185}
ARMS=${ARMS:-energy scaled-cost vanilla random paper-matrix prune-l1 prune-slimming prune-morphnet scaled-epochs scratch-cost}
rounds=$(($(printf %s "$TARGETS" | tr -cd , | wc -c) + 1))

# Of each recipe: options of all runs, and of growths; epochs of scaled-cost and scaled-epochs. scaled-cost trains for as many
# multiply-accumulates as the energy arm, RQ-SGD's included, to half an epoch. scratch-cost is that with
# the energy arm's own last widths: what growing brings beside the shape that it finds.
case $RECIPE in
  short) recipe="--recipe short" growth= cost_epochs=20 all_epochs=25 wide_epochs=5 pruned_epochs=11 gamma=3e-3 ;;
  # a third of short's cost
  short-third) recipe="--recipe short" growth="--epochs 2 --tune-epochs 2 --last-epochs 4" \
    cost_epochs=7 all_epochs=10 wide_epochs=2 pruned_epochs=3 gamma=3e-3 ;;
  paper-40) recipe="--recipe paper" growth="--epochs 40" cost_epochs=110 all_epochs=40 wide_epochs=27 pruned_epochs=60 gamma=5e-4 ;;
  paper-160) recipe="--recipe paper" growth= cost_epochs=400 all_epochs=160 wide_epochs=100 pruned_epochs=220 gamma=1e-4 ;;
  *) echo "study: RECIPE=$RECIPE: expected short, short-third, paper-40 or paper-160" >&2; exit 2 ;;
esac
declare -A choice=(
  [energy]=''                           # E12 with exact ΔMACs, the recipe's matrix
  [vanilla]='--selection vanilla'       # no energy: the least splitting indices
  [random]='--selection random'         # which neurons: by chance; their directions are still RQ-SGD's
  [paper-matrix]='--matrix paper'    # E6 in place of E6c
)
# A pruned rival: WIDE of the full widths, trained at a constant learning rate, pruned to the last target,
# tuned with a cosine; both stages together cost what the energy arm costs. gamma: the penalty's weight,
# so that over the wide stage it pulls as far as its paper's 1e-4 does in 160 epochs.
declare -A penalty=([prune-l1]='' [prune-slimming]="--gamma-l1 $gamma" [prune-morphnet]="--gamma-l1 $gamma --gamma-l1-cost macs")
prune() {  # ARM OUT OPTIONS
  local arm=$1 out=$2
  shift 2
  "$build/cifar" "$@" --rounds 0 --widths "${WIDE:-0.25}" --schedule constant --epochs "${WIDE_EPOCHS:-$wide_epochs}" ${penalty[$arm]} --out "$out-wide" &&
    "$build/prune" "$out-wide/round-0.safetensors" "$@" --method "${arm#prune-}" --target-macs "${TARGETS##*,}" \
      --schedule cosine --epochs "${PRUNED_EPOCHS:-$pruned_epochs}" --out "$out"
}

of_runs() {  # AWK, which prints of one results.csv: c, a column by its name; name, the run's
  local csv
  for csv in "$OUT"/*,*,*,*/results.csv; do
    case $csv in *-wide/results.csv) continue ;; esac
    [ -f "$csv" ] || continue
    awk -F, -v OFS=, -v name="$(basename "$(dirname "$csv")")" -v last="$rounds" '
      NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
      '"$1" "$csv"
  done
}
merged() {  # FILE HEADER KEYS: with what stands in FILE already, once each
  { ! [ -f "$1" ] || tail -n +2 "$1"; cat; } | awk -F, -v keys="$3" '{ k = ""; for (i = 1; i <= keys; i++) k = k FS $i } !seen[k]++' | sort -t, -k1,3 -k4,5n | { echo "$2"; cat; }
}
last_widths() {
  of_runs '$c["test_top1_tuned"] > 0 && ($c["round"] == last || name ~ /,(scaled|scratch|prune)-/) { print name, $c["widths"] }' |
    merged "${ROWS%.csv}-widths.csv" dataset,recipe,arm,seed,widths 4
}

one() {  # ARM SEED
  local arm=$1 out=$OUT/$DATASET,$RECIPE,$1,$2 data widths=$SCALED
  data="--dataset $DATASET --threads $THREADS --seed $2 ${FLAGS:-}"
  train() { "$build/cifar" --data "${DATA:?the folder of the published binary files}" $data $recipe --out "$out" "$@"; }
  if [ "$arm" = scratch-cost ]; then
    widths=$(last_widths | awk -F, -v run="$DATASET,$RECIPE,energy,$2" '$1 FS $2 FS $3 FS $4 == run { gsub(" ", ",", $5); print $5 }')
    [ "$widths" ] || { echo "study: $arm, seed $2: expected the energy arm of the same seed, finished" >&2; return 2; }
  fi
  case $arm in
    scaled-* | scratch-*) train --rounds 0 --anneal every --widths "$widths" --epochs "$([ "$arm" = scaled-epochs ] && echo "${ALL_EPOCHS:-$all_epochs}" || echo "${COST_EPOCHS:-$cost_epochs}")" ;;
    prune-*) prune "$arm" "$out" --data "$DATA" $data ;;
    *) train --rounds "$rounds" --grow 1 --target-macs "$TARGETS" --fill $growth ${choice[$arm]} ${GROWTH:-} ;;
  esac >>"$out.log" 2>&1 || { echo "study: $arm, seed $2: $(tail -n 1 "$out.log") ($out.log)" >&2; return 2; }
  echo "study: $DATASET, $RECIPE, $arm, seed $2: done, $(date +%H:%M)"
}
has() { [ -f "$ROWS" ] && grep -q "^$DATASET,$RECIPE,$1,$2,$rounds," "$ROWS"; }

if [ "${1:-}" = one ]; then one "$2" "$3"; exit; fi
mkdir -p "$OUT"
if [ "${1:-}" != table ]; then
  for which in '/^scratch/!p' '/^scratch/p'; do  # after the arm whose widths it takes
    for s in $SEEDS; do for a in $ARMS; do has "$a" "$s" || echo "$a $s"; done; done | sed -n "$which" | xargs -r -P "$JOBS" -L 1 bash "$0" one || exit 2
  done
fi

# Rows of every finished round; an arm that is trained whole has only a last one. And the widths that
# each run ended with.
of_runs '{ whole = name ~ /,(scaled|scratch|prune)-/ }
  $c["test_top1_tuned"] > 0 { print name, (whole ? last : $c["round"]), $c["macs"], $c["parameters"], $c["training_macs"], $c["test_top1_tuned"] }' |
  merged "$ROWS" dataset,recipe,arm,seed,round,macs,parameters,training_macs,top1 5 >"$OUT/rows.csv"
last_widths >"$OUT/widths.csv"
awk -f "$here/study.awk" "$OUT/rows.csv"
if command -v gnuplot >/dev/null; then
  gnuplot -e "rows='$OUT/rows.csv'; widths='$OUT/widths.csv'; dataset='$DATASET'; recipe='$RECIPE'; out='$OUT'" "$here/study.gp" && echo "plots: $OUT/$DATASET-$RECIPE-{macs,cost,channels}.svg"
else
  echo "no plots: gnuplot was not found (gnuplot-nox)"
fi
