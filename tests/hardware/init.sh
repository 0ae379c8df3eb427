#!/guest/applets/busybox sh
# shellcheck shell=dash
# The first process of the guest: lets the udev of the image's initramfs find the hardware, then asks the agent and the
# usual tools what there is, and leaves their answers on a disk.
#
# For:     guest.sh, which puts it into an initramfs. The kernel's command line says what to wait for: disks=COUNT, and
#          links=COUNT of network interfaces that have one.
# Leaves:  on the disk with the serial number RESULTS a cpio archive with what each command printed. If something fails
#          there is none, and the console says why.

export PATH=/guest/applets
/guest/applets/busybox --install -s /guest/applets

give_up() {
  echo "guest: $*"
  poweroff -f
}

# wait_for WHAT COMMAND...: until the command succeeds. Whoever runs the guest bears how long.
wait_for() {
  echo "guest: waiting for $1"
  shift
  until "$@" >/dev/null 2>&1; do
    sleep 0.1
  done
}

# in_guest PROGRAM ARGUMENT...: one of those under test, or of the tools.
in_guest() {
  program=$1
  shift
  chroot /guest "/bin/$program" "$@"
}

# ask NAME COMMAND...: what the command prints is the answer of that name.
ask() {
  name=$1
  shift
  echo "guest: $*"
  in_guest "$@" >"/guest/results/$name" || give_up "$1 has failed"
}

# ask_agent NAME OPTION...: the same of the hardware, until the agent had to give up no question. Its patience is made for
# servers, and an emulated one is slower than any.
ask_agent() {
  answer=$1
  shift
  until
    ask "$answer" bmsctl host show --output json "$@"
    ! grep -q timed_out "/guest/results/$answer"
  do :; done
}

# The kernel passes on to init what it does not know in its command line.
are_there() {
  [ "$(in_guest lsblk -dno NAME | wc -l)" -ge "${disks:?}" ] &&
    [ "$(cat /sys/bus/*/devices/*/net/*/carrier | grep -c 1)" -ge "${links:?}" ]
}

mount_all() {
  for root in '' /guest; do
    mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t devtmpfs devtmpfs "$root/dev"
  done
  mount -t tmpfs tmpfs /run
  mount -o bind /run /guest/run
}

find_hardware() {
  for module in efivarfs ipmi_msghandler ipmi_si; do
    insmod "/guest/$module.ko" || give_up "no $module"
  done
  mount -t efivarfs efivarfs /guest/sys/firmware/efi/efivars || give_up 'no variables of UEFI'
  /usr/lib/systemd/systemd-udevd --daemon
  /usr/bin/udevadm trigger --type=subsystems --action=add
  /usr/bin/udevadm trigger --type=devices --action=add
  /usr/bin/udevadm settle
  for interface in /sys/class/net/*; do
    ip link set "${interface##*/}" up
  done
  wait_for "$disks disks and $links links" are_there
  /usr/bin/udevadm settle # Buses are scanned beside everything else, and some disks come late.
  wait_for 'the BMC' ls -d /sys/bus/platform/devices/ipmi_bmc.*
  wait_for 'the disk for results' ls /dev/disk/by-id/virtio-RESULTS
}

mount_all
find_hardware
mkdir /run/bms-agent
{ in_guest bms-agent || give_up 'the agent has failed'; } &
wait_for 'the agent' ls /run/bms-agent/agent.sock
ask_agent host --serials
ask_agent facts
ask lspci lspci -Dnnvmmk
ask lsblk lsblk --json --bytes --output-all
ask lscpu lscpu --json
ask ip ip -json -details link
ask dmidecode dmidecode
cp /proc/meminfo /guest/results/
for variable in SecureBoot SetupMode; do
  cp /guest/sys/firmware/efi/efivars/$variable-* "/guest/results/$variable"
done
for path in /sys/block/*; do
  echo "${path##*/} $(readlink -f "$path")"
done >/guest/results/places
/usr/bin/udevadm control --exit
(cd /guest/results && find . -type f | cpio -o -H newc) >/dev/disk/by-id/virtio-RESULTS
sync
echo 'guest: done'
poweroff -f
