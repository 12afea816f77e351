#!/bin/busybox sh
# PID 1 of the initramfs. Every external command costs a fork and an exec of busybox under TCG, so files are written by the
# shell itself and busybox is called as few times as possible. Any failure ends PID 1: the kernel panics, panic=-1
# resets the machine and -no-reboot ends the VMM, which the host's boot watchdog sees.
set -e
bb=/bin/busybox
umask 022
$bb mount -t devtmpfs -o nosuid,noexec dev /dev
# Without a serial port there is no console to open, and programs that start with closed descriptors misuse the first file they open.
if echo -n 2>/dev/null >/dev/console; then exec </dev/null >/dev/console 2>&1; else exec </dev/null >/dev/null 2>&1; fi
# Terminals are the agent's to make: their devices belong to root, and nobody else opens, makes or lists them. At most four are used at once.
$bb mkdir -p /dev/pts
$bb mount -t devpts -o nosuid,noexec,mode=600,ptmxmode=000,max=8 pts /dev/pts
$bb chmod go-rw /dev/ptmx /dev/pts
# hidepid=2: an ordinary user sees its own processes only.
$bb mount -t proc -o nosuid,nodev,noexec,hidepid=2 proc /proc
$bb mount -t sysfs -o nosuid,nodev,noexec sys /sys
# microvm has no keyboard controller and no reset register: any other way to reset hangs, of a panic as of the agent's Shutdown.
echo triple >/sys/kernel/reboot/type

for module in /modules/*; do $bb insmod "$module"; done

sysctl=/proc/sys
echo guest >$sysctl/kernel/hostname
echo 1 >$sysctl/kernel/dmesg_restrict
echo 2 >$sysctl/kernel/kptr_restrict
echo 2 >$sysctl/kernel/perf_event_paranoid
echo 1 >$sysctl/kernel/kexec_load_disabled
echo 1 >$sysctl/kernel/modules_disabled
if [ -e $sysctl/kernel/yama/ptrace_scope ]; then echo 2 >$sysctl/kernel/yama/ptrace_scope; fi
# User namespaces hand an ordinary user the kernel's whole mount and network code.
echo 0 >$sysctl/user/max_user_namespaces
echo 1 >$sysctl/net/ipv6/conf/all/disable_ipv6
echo 1 >$sysctl/net/ipv6/conf/default/disable_ipv6

$bb ifconfig lo 127.0.0.1 up
$bb ifconfig eth0 10.77.0.2 netmask 255.255.255.252 up
$bb route add default gw 10.77.0.1

$bb mount -t erofs -o ro,nosuid,nodev /dev/vda /ro

# Here a template is saved, and every guest of it begins (ADR 0044). Nothing above this line may depend on the tenant, read its two disks or leave
# a process; nothing of them is cached, since each opening of a disk that nobody has open reads it anew. A drive that begins with "w" (wait)
# is to be waited for. A flush of the disk, on which nothing was written, tells the host that this guest waits.
waits() { read -r -n 1 first </dev/vdc && [ "$first" = w ]; }
woken_at=
if waits; then
  # A Node that loads what agent and workload load leaves what they need of the root disk in memory, and nothing else: its own random state ends with it.
  $bb mount -o bind /proc /ro/proc
  $bb chroot /ro /usr/bin/tini -- /usr/bin/node -e '["child_process", "crypto", "fs/promises", "http2", "https"].forEach(require)' || :
  $bb umount /ro/proc
  $bb cat /ro/opt/agent/agent.js /ro/opt/workload/workload.js >/dev/null
  $bb mkfifo -m 600 /never
  exec 3<>/never
  $bb dd if=/dev/null of=/dev/vdb conv=fsync 2>/dev/null
  while waits; do read -r -t 0.02 -u 3 never || :; done
  exec 3>&-
  read -r woken_at rest </proc/uptime
  # The wall clock stood still as long as the template lay there.
  $bb hwclock -s -u || :
fi

# The drive has 64 random bytes of the host's. Every guest of a template has the same generator until here, so no program starts before this.
$bb cat /dev/vdc >/dev/urandom
/bin/reseed-kernel </dev/urandom

# The drive's last 3 KiB open the disk, or are zeros where it is plain: of a tenant of before there were keys. Nothing here makes a file system, so a disk that
# does not open stays as it is. Its unused tables are not filled in: through the cipher that would write them out.
/bin/map-disk </dev/vdc 3<>/dev/mapper/control
disk=/dev/vdb
if [ -e /dev/dm-0 ]; then disk=/dev/dm-0; fi
if ! $bb mount -t ext4 -o noatime,nosuid,nodev,noinit_itable $disk /rw; then
  echo "lobsterd: the disk does not open with its key"
  exit 1
fi
$bb mkdir -p /rw/upper /rw/work
# The flags of the upper file system do not carry over: a device node on a nodev upper opens through an overlay without nodev.
$bb mount -t overlay -o noatime,nosuid,nodev,lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work root /new
$bb mount -t tmpfs -o nosuid,nodev,noexec,size=16m,mode=755 run /new/run
$bb mount -t tmpfs -o nosuid,nodev,size=64m,mode=1777 tmp /new/tmp

# The rest of the identity drive is one JSON document padded with zero bytes. Its disk goes away before anything but this script runs.
$bb mkdir -m 700 /new/run/lobsterd-agent
if [ -n "$woken_at" ]; then echo "$woken_at" >/new/run/lobsterd-agent/woken-at; fi
(umask 077 && $bb dd if=/dev/vdc bs=62464 count=1 2>/dev/null | $bb tr -d '\000' >/new/run/lobsterd-agent/identity.json)
device=$($bb readlink /sys/block/vdc/device)
echo "${device##*/}" >/sys/bus/virtio/drivers/virtio_blk/unbind
$bb mount -o remount,ro /sys
[ ! -e /dev/vdc ]

$bb mount -o move /dev /new/dev
$bb mount -o move /proc /new/proc
$bb mount -o move /sys /new/sys
# The agent keeps little and its garbage is short-lived: without bounds, tens of MiB of it would be collected late. A young generation that begins
# as large as it may become is collected less often while the agent starts.
exec $bb switch_root /new /usr/bin/tini -- /usr/bin/node --min-semi-space-size=2 --max-semi-space-size=2 --max-old-space-size=48 /opt/agent/agent.js
