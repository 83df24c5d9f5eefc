#!/bin/bash
# Is each network of this folder as accurate as networks.csv says? DATA holds the binary files of CIFAR-10 or of
# CIFAR-100; the networks of that data set are tried. Status 1: one of them is not, to the digit.
#   DATA=DIR runners/zoo/eval.sh      (make eval-zoo)      ZOO=runners/zoo  BUILD=build
set -eu -o pipefail
zoo=${ZOO:-$(dirname "$0")} build=${BUILD:-build} tried=0 wrong=0
if [ -e "${DATA:?the folder of the published binary files}/train.bin" ]; then dataset=cifar100; else dataset=cifar10; fi
while IFS=, read -r network of macs parameters top1; do
  if [ "$of" != "$dataset" ]; then continue; fi
  tried=$((tried + 1))
  said=$("$build/eval" "$zoo/$network.safetensors" --data "$DATA" --json 2>/dev/null | grep -o '"top1":[0-9.]*\|"macs":[0-9]*' | cut -d: -f2 | paste -sd ' ') ||
    { "$build/eval" "$zoo/$network.safetensors" --data "$DATA"; exit 2; }
  mark=✓
  if [ "$said" != "$top1 $macs" ]; then mark=✗ wrong=$((wrong + 1)); fi
  echo "$mark $network: top-1 and MACs ${said:-none}; networks.csv: $top1 $macs, $parameters parameters"
done < <(tail -n +2 "$zoo/networks.csv")
if [ $tried = 0 ]; then echo "eval-zoo: networks.csv has no network of $dataset" >&2; exit 2; fi
[ $wrong = 0 ]
