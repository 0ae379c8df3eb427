#!/usr/bin/env bash
# The whole job on one machine: builds bms-agent, makes a disk image, installs it onto a loop device, proves it.
#
#   install-on-loop.sh [--block-size 512|4096] [IMAGE]      IMAGE: your own raw, raw.gz, raw.xz, raw.zst or qcow2 file
#
# For:     anybody who wants to see what this project does before trusting it with a disk.
# Needs:   root on Debian with Rust; free space in ${TMPDIR:-/var/tmp} for the image and for the disk it goes to.
# Leaves:  packages and target/release. The disk it writes is a loop device over a file, both made here and removed in
#          the end; there is no way to name another one.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
readonly top
readonly SPARE_MIB=256 # The disk is this much larger than the image, as real disks are.
export PATH="$top/target/release:$PATH"

usage() {
  echo "usage: $0 [--block-size 512|4096] [IMAGE]" >&2
  exit 2
}

say() { printf '\n# %s\n' "$*"; }

# show COMMAND...: prints the command as a person would type it, then runs it.
show() {
  printf '\n$ %s\n' "$*"
  "$@"
}

clean_up() {
  if [[ -n $daemon ]]; then
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" || true
  fi
  if [[ -n $loop ]]; then losetup --detach "$loop" || true; fi
  rm -rf "$work"
}

make_loop_device() {
  truncate -s "$1" "$work/disk"
  losetup --find --show --partscan --sector-size "$block_size" "$work/disk"
}

start_daemon() {
  printf 'socket = "%s"\nstate_dir = "%s"\nallow_loop_devices = true\n' "$BMSCTL_SOCKET" "$work/state" \
    >"$work/config.toml"
  bms-agent --config "$work/config.toml" 2>"$work/agent.log" &
  daemon=$!
}

# The daemon is ready when it answers; ten seconds are far more than it takes.
await_daemon() {
  for _ in {1..100}; do
    if bmsctl host show >/dev/null 2>&1; then return; fi
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  echo "bms-agent did not become ready:" >&2
  cat "$work/agent.log" >&2
  exit 1
}

block_size=512
if [[ ${1:-} == --block-size ]]; then
  [[ ${2:-} =~ ^(512|4096)$ ]] || usage
  block_size=$2
  shift 2
fi
[[ $# -le 1 && ${1:-} != -* ]] || usage
image=${1:-}
[[ -z $image || -f $image ]] || { echo "$image is not a regular file" >&2 && exit 1; }
[[ $EUID -eq 0 ]] || { echo "loop devices need root" >&2 && exit 1; }

loop='' daemon=''
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}" bms-example.XXXXXX)
trap clean_up EXIT
export BMSCTL_SOCKET=$work/agent.sock

say "Building"
"$top/tests/install-packages.sh"
(cd "$top" && cargo build --release --locked --bins)

if [[ -z $image ]]; then
  say "Making a disk image: GPT, EFI system partition, ext4 root"
  image=$work/image.raw
  "$top/tests/fixtures/disk-image.sh" "$image" --block-size "$block_size"
fi

say "The image, and the disk it goes to"
show bmsctl image hash "$image"
hash=$(bmsctl image hash "$image" --output json)
root=$(jq -er .root <<<"$hash")
size=$(jq -er .size_bytes <<<"$hash")
loop=$(make_loop_device $((size / 1048576 + SPARE_MIB + 1))M)
disk="backing-file=$work/disk,diskseq=$(<"/sys/block/${loop##*/}/diskseq")"
start_daemon
await_daemon
show bmsctl disk list

say "Installing"
show bmsctl install --image "$image" --disk "$disk" --yes
show bmsctl verify --disk "$disk" --image "$image"
show bmsctl disk list
show bmsctl operation list

say "A second opinion"
blockdev --flushbufs "$loop" # b3sum is to see the disk, not what the kernel remembers of it.
printf '\n$ head -c %s %s | b3sum\n' "$size" "$loop"
seen=$(head -c "$size" "$loop" | b3sum --no-names)
printf '%s  the disk\n%s  the image\n' "$seen" "$root"
[[ $seen == "$root" ]] || { echo "they differ" >&2 && exit 1; }
