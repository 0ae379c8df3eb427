#!/usr/bin/env bash
# Makes a guest for QEMU that boots an installed image's own kernel and initramfs, and then runs init.sh instead of the
# image: what finds the disks there is what would find them on a server.
#
#   guest.sh IMAGE OUTDIR PROGRAM...        IMAGE is disk.raw of tests/fixtures/debian-image.sh
#
# For:     tests/hardware, which runs it with the programs under test.
# Needs:   the packages of tests/install-packages.sh.
# Leaves:  OUTDIR/vmlinuz and OUTDIR/initrd.img: the image's, with a tree /guest behind what the initramfs has: init.sh, the
#          programs, this machine's tools that the test compares them with, all their libraries, and a few modules.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
readonly here
readonly TOOLS=(dmidecode ip lsblk lscpu lspci)
# The initramfs of an image has no driver for a BMC, and none for the variables of UEFI.
readonly MODULES=(drivers/char/ipmi/ipmi_msghandler drivers/char/ipmi/ipmi_si fs/efivarfs/efivarfs)
# Where the partitions of the image begin (assemble-disk.sh).
readonly ESP_OFFSET=$((1 << 20)) ROOT_OFFSET=$((321 << 20))

copy_programs() {
  local program libraries
  mkdir -p "$tree"/{applets,bin,dev,proc,results,run,sys,tmp,usr/share/misc,var/lib}
  install -m 755 "$here/init.sh" "$tree/init"
  cp "$(command -v busybox)" "$tree/applets/"
  cp /usr/share/misc/pci.ids "$tree/usr/share/misc/"
  for program in "${TOOLS[@]}"; do
    cp "$(command -v "$program")" "$tree/bin/"
  done
  for program in "$@"; do
    strip -o "$tree/bin/${program##*/}" "$program"
  done
  mapfile -t libraries < <(ldd "$tree"/bin/* | grep -oE '/[^ :]+\.so[^ :]*' | sort -u)
  cp --parents -L -t "$tree" "${libraries[@]}"
}

# What debugfs cannot do it says among its greetings, and ends well all the same.
copy_modules() {
  local file_system="$image?offset=$ROOT_OFFSET" release module copy
  release=$(debugfs -R 'ls -p /usr/lib/modules' "$file_system" 2>/dev/null | cut -d / -f 6 | grep '^[0-9]')
  for module in "${MODULES[@]}"; do
    copy=$tree/${module##*/}.ko
    debugfs -R "dump /usr/lib/modules/$release/kernel/$module.ko $copy" "$file_system" 2>/dev/null
    [[ -s $copy ]] || { echo "the image has no module $module for kernel $release" >&2 && exit 1; }
  done
}

# An archive behind an archive is unpacked over it if it begins at a multiple of four bytes
# (Documentation/driver-api/early-userspace/buffer-format.rst).
append_tree() {
  truncate -s %4 "$out/initrd.img"
  (cd "$work" && find guest | busybox cpio -o -H newc 2>/dev/null) >>"$out/initrd.img"
}

(($# >= 2)) || { echo "usage: $0 IMAGE OUTDIR PROGRAM..." >&2 && exit 2; }
image=$(realpath "$1") out=$(realpath "$2")
shift 2
work=$(mktemp -d "$out/tree.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/guest
copy_programs "$@"
copy_modules
mcopy -o -i "$image@@$ESP_OFFSET" ::/debian/vmlinuz ::/debian/initrd.img "$out/"
append_tree
