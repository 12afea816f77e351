#!/bin/sh
# Builds the jail of one probe and becomes its VMM. Every value is a positional argument that the launcher derived. Like jail.sh, with no
# network at all, nothing to write to, and /dev/kvm; the launcher kills the cgroup when the time is up. The line `built` says that what follows is the VMM's.
set -eu
stage=$1 jail=$2 tree=$3 image=$4 vmm=$5 uid=$6 cgroup_files=$7

if [ "$stage" = enter ]; then
  shift
  IFS=:
  for file in $cgroup_files; do echo 0 >"$file"; done
  unset IFS
  exec unshare --mount --propagation private --net --pid --ipc --uts --cgroup --fork --kill-child -- \
    /bin/sh "$0" build "$@"
fi
shift 7

mount --bind "$jail" "$jail"
cd "$jail"
mount -t tmpfs -o size=64k,nr_inodes=16,mode=0755,nosuid,noexec dev dev
mknod -m 0666 dev/null c 1 3
mknod -m 0444 dev/urandom c 1 9
mknod -m 0600 dev/kvm c 10 232
chown "$uid:$uid" dev/kvm
mount --bind -o ro,nosuid,nodev "$tree" usr
mount --bind -o ro,nosuid,nodev,noexec "$image" image
mount --bind -o ro,nosuid,nodev "$vmm" vmm
mount -t proc -o nosuid,nodev,noexec,hidepid=2,subset=pid proc proc
mount -o remount,bind,ro,nosuid,nodev,noexec "$jail"
pivot_root . old
cd /
/usr/bin/umount -n -l /old
unset OLDPWD
ulimit -n 256
ulimit -c 0
ulimit -l 0
ulimit -f 0
echo built
exec /usr/bin/setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs \
  --inh-caps=-all --ambient-caps=-all --bounding-set=-all -- "$@"
