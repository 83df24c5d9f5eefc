#!/bin/bash
# By hand, as root on Debian: does a stranger's minimal Debian 12 and 13 get from `git clone` to a grown network?
# usage: tests/fresh.sh [SUITE ...]      FRESH=DIR where the roots go (kept; default: a temporary one, removed)
#        GOALS="test demo" what is made there
# Each root has debootstrap's minbase, make and git, so that what `make deps` forgets is missed.
set -eu -o pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "fresh.sh: needs root (debootstrap, chroot, mount)"; exit 2; }
command -v debootstrap >/dev/null || { echo "fresh.sh: needs debootstrap"; exit 2; }

# The mirror, and how to reach it, are this machine's own.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
[ -n "$mirror" ] || { echo "fresh.sh: no Debian mirror in this machine's apt sources"; exit 2; }
base=${FRESH:-$(mktemp -d)}
mkdir -p "$base"
root=
leave() {
  [ -z "$root" ] || umount "$root/proc" "$root/sys" 2>/dev/null || true
  [ -n "${FRESH:-}" ] || rm -rf --one-file-system "$base"
}
trap leave EXIT
mib() { du -smx "$1" --exclude=proc | cut -f1; }
failed=0
for suite in ${*:-bookworm trixie}; do
  root=$base/$suite log=$base/$suite.log
  if [ -e "$root" ]; then echo "fresh.sh: $root is there already"; exit 2; fi
  SECONDS=0
  debootstrap --variant=minbase --include=make,git,ca-certificates "$suite" "$root" "$mirror" >"$log" 2>&1 ||
    { tail -n 5 "$log"; exit 1; }
  cp /etc/resolv.conf "$root/etc/"
  for file in $(grep -lE 'Acquire' /etc/apt/apt.conf.d/* || true); do cp "$file" "$root/etc/apt/apt.conf.d/"; done
  mount -t proc proc "$root/proc"  # the sanitizers and OpenMP read it
  mount -t sysfs sys "$root/sys"   # Open MPI reads it
  git clone -q --no-hardlinks . "$root/root/fission"
  echo "$suite: a minimal root in $SECONDS s, $(mib "$root") MiB"
  for goal in ${GOALS:-test demo}; do
    SECONDS=0 status=0
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root ${http_proxy:+http_proxy="$http_proxy"} \
      ${https_proxy:+https_proxy="$https_proxy"} make -C /root/fission "$goal" </dev/null >>"$log" 2>&1 || status=$?
    [ $status = 0 ] || { failed=1; tail -n 20 "$log"; }
    echo "$suite: make $goal: status $status, $SECONDS s, $(mib "$root") MiB now, $(mib "$root/root/fission") of them in the clone"
  done
  if [ -n "${FRESH:-}" ]; then cp "$log" "$root/root/"; fi
  umount "$root/proc" "$root/sys"
  root=
done
exit $failed
