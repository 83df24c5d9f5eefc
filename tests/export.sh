#!/bin/bash
# Grown networks in other people's programs: onnxruntime gives our logits, onnx's checker accepts our files, and the README's
# lines load a checkpoint and give our logits in PyTorch. Each is tried in the first Python that has it (PYTHON=... goes first).
set -eu -o pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
FISSION_EXPORT_SAMPLES=$folder "${BUILD:-build}/tests" -tc='export: samples for other runtimes*' >"$folder/log" || { cat "$folder/log"; exit 1; }
check() {  # PROGRAM MODULES
  for python in ${PYTHON:-} /usr/bin/python3 python3; do
    if "$python" -c "import numpy, $2" 2>/dev/null; then "$python" tests/peers/exported.py "$1" "$folder"; return; fi
  done
  echo "export.sh: skipped: $1 (no Python here has numpy, $2)"
}
check onnxruntime onnxruntime
check checker onnx
check readme 'torch, safetensors.torch'
