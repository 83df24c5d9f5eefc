#!/bin/bash
# The tests that need more than the program itself needs: onnxruntime, ONNX's checker, PyTorch, safetensors' Python reader, a lesser
# processor (qemu), and a user whom permissions bind. Installs what is missing (Debian's packages as root; Python's in
# build/extra-venv), and fails where something cannot be tried: here nothing is skipped.
#   BUILD=build bash tests/extra.sh      (make test-extra)
set -eu -o pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build} venv=${BUILD:-build}/extra-venv log=${BUILD:-build}/extra.log
mkdir -p "$build"
: >"$log"

lacking=()
command -v qemu-x86_64 >/dev/null || [ "$(uname -m)" != x86_64 ] || lacking+=(qemu-user)
command -v setpriv >/dev/null || lacking+=(util-linux)
/usr/bin/python3 -m venv --help >/dev/null 2>&1 && /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || lacking+=(python3-venv)
/usr/bin/python3 -c 'import torch' 2>/dev/null || lacking+=(python3-torch)  # a tenth of what PyPI's is
if [ ${#lacking[@]} != 0 ]; then
  echo "extra.sh: installing ${lacking[*]} (log: $log)"
  if [ "$(id -u)" != 0 ]; then echo "extra.sh: not root; expected these packages to be there: ${lacking[*]}"; exit 2; fi
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${lacking[@]}"; } </dev/null >>"$log" 2>&1 ||
    { tail -n 5 "$log"; exit 2; }
fi
python=$PWD/$venv/bin/python
if ! "$python" -c 'import onnxruntime, onnx, torch, safetensors.torch' 2>/dev/null; then
  echo "extra.sh: installing onnxruntime, onnx and safetensors in $venv (log: $log)"
  # Debian's PyTorch works with a numpy of the version that it was built with.
  numpy=$(/usr/bin/python3 -c 'import numpy; print(numpy.__version__.split(".")[0])')
  { /usr/bin/python3 -m venv --clear --system-site-packages "$venv" &&
    "$python" -m pip install --disable-pip-version-check "numpy==$numpy.*" onnxruntime onnx safetensors; } </dev/null >>"$log" 2>&1 ||
    { tail -n 5 "$log"; exit 2; }
fi

tries() {  # COMMAND...: it passes, and skips nothing
  "$@" 2>&1 | tee "$build/extra.out"
  if grep 'skipped: ' "$build/extra.out"; then echo "extra.sh: that was skipped; expected all to be tried: $*"; exit 1; fi
}
BUILD=$build PYTHON=$python tries bash tests/export.sh
PATH=$PWD/$venv/bin:$PATH tries "$build/tests" -tc='safetensors: Python*'
tries env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL bash tests/makefile.sh
if [ "$(id -u)" = 0 ]; then
  # nobody may not enter root's folders: a copy of what runs, where everyone may
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
  chmod 755 "$place"
  find "$build" -maxdepth 1 -type f -perm -u+x -exec cp -t "$place" {} +
  mkdir -m 1777 "$place/tmp"
  tries env TMPDIR="$place/tmp" HOME="$place/tmp" setpriv --reuid=65534 --regid=65534 --clear-groups "$place/tests" -tc='files: *,*one is root*'
else
  tries "$build/tests" -tc='files: *,*one is root*'
fi
echo 'extra.sh: all was tried, and holds'
