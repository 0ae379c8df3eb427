#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the worked example need.
#
#   install-packages.sh [--bench]      --bench adds the rivals that benches/ measures against
#
# For:     tests/run.sh, examples/install-on-loop.sh, benches/ and .ci/run, each of which calls it first.
# Needs:   root on Debian 12 or later.
# Leaves:  the packages. A second run finds them with dpkg alone and takes no time.
set -euo pipefail

packages=(
  build-essential                                # the linker, and a C compiler for zstd and liblzma
  util-linux fdisk gdisk parted                  # loop devices and partition tables
  dosfstools mtools e2fsprogs ntfs-3g            # file systems made and read without a mount
  xfsprogs btrfs-progs mount lvm2                # and with one
  mmdebstrap systemd systemd-container groff-base # Debian images and trees; the units, analysed and booted; the manual
  qemu-utils gzip xz-utils zstd                  # the formats an image may come in
  b3sum jq strace                                # the second opinion on a hash; bmsctl --output json; faults
  qemu-system-x86 ovmf busybox-static            # a server to take stock of, and what its inventory is compared with
  dmidecode iproute2 pciutils pci.ids
  nginx                                          # a real web server, which the tests start where they want it
  python3 python3-pip nodejs                     # clients in other languages
)
# Builds of Node from elsewhere bring it, and exclude Debian's.
command -v npm >/dev/null || packages+=(npm)
tools=(shellcheck) # Only .ci/run and people who change a script use it, but one list is simpler than two.
rivals=(bmap-tools casync curl fio fuse3 libssl-dev libzstd-dev pkg-config python3 python3-venv time)

case ${1:-} in
  '') wanted=("${packages[@]}" "${tools[@]}") ;;
  --bench)
    wanted=("${packages[@]}" "${tools[@]}" "${rivals[@]}")
    # It moved from qemu-system-common (Debian 12) to qemu-utils, and the two exclude each other.
    command -v qemu-storage-daemon >/dev/null || wanted+=(qemu-system-common)
    ;;
  *) echo "usage: $0 [--bench]" >&2 && exit 2 ;;
esac

# Fills `missing` with what is wanted and not installed.
look() {
  missing=()
  for package in "${wanted[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
}
look
((${#missing[@]} > 0)) || exit 0

# A package's service is neither started now nor, if it is nginx, at the next boot: the machine may be somebody's own.
if [[ ! -e /usr/sbin/policy-rc.d ]]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}
had_nginx=$(command -v nginx || true)
# To install one package, apt may remove another that is wanted as well: a qemu-utils from elsewhere, which excludes Debian's
# qemu-system-x86. The next round brings back Debian's own.
for round in first second third; do
  echo "installing (${round} round) ${missing[*]}"
  # A fresh machine has no package lists, or old ones that name versions the mirror no longer has.
  install >/dev/null 2>&1 || { apt-get update -qq && install >/dev/null; }
  look
  ((${#missing[@]} > 0)) || break
done
((${#missing[@]} == 0)) || { echo "cannot install ${missing[*]}" >&2 && exit 1; }
[[ -n $had_nginx ]] || systemctl disable --quiet nginx
