#!/bin/sh
# Builds the jail of one microVM and becomes its VMM. Every value is a positional argument that the launcher derived; nothing is
# interpolated into code. Standard input holds the process back until the launcher has seen it in the VM's cgroup; descriptor 3 is
# the VMM's start-up monitor, on which this script says how far it is.
set -eu
stage=$1 jail=$2 netns=$3 tree=$4 image=$5 overlay=$6 uid=$7 fsize_blocks=$8 cgroup_files=$9

if [ "$stage" = enter ]; then
  shift
  # The process moves itself. To move another one Linux takes a lock of the whole machine, which waits for a grace period of RCU
  # (5 to 20 ms); for a single thread that moves itself under cgroup v1 it does not.
  IFS=:
  for file in $cgroup_files; do echo 0 >"$file"; done
  unset IFS
  echo joined >&3
  # End of file: the launcher died, so no VMM starts that it has not seen in its cgroup. `set -e` looks at the last command of an
  # and-list only, so each of the two stands alone.
  read -r go
  [ "$go" = go ]
  exec nsenter --net="$netns" -- \
    unshare --mount --propagation private --pid --ipc --uts --cgroup -- /bin/sh "$0" build "$@"
fi
shift 9
accelerator=$1
shift

devices() {
  mount -t tmpfs -o size=64k,nr_inodes=16,mode=0755,nosuid,noexec dev dev
  mkdir -m 0755 dev/net
  mknod -m 0666 dev/null c 1 3
  mknod -m 0444 dev/urandom c 1 9
  mknod -m 0600 dev/net/tun c 10 200
  chown "$uid:$uid" dev/net/tun
  [ "$accelerator" = kvm ] || return 0
  mknod -m 0600 dev/kvm c 10 232
  chown "$uid:$uid" dev/kvm
}

build() {
  mount --bind "$jail" "$jail"
  cd "$jail"
  devices & # every program costs a millisecond, and nothing else waits for these six
  mount --bind -o ro,nosuid,nodev "$tree" usr
  mount --bind -o ro,nosuid,nodev,noexec "$image" image
  mount --bind -o rw,nosuid,nodev,noexec "$overlay" overlay.ext4
  # The VMM's own directory, in which the launcher reaches its sockets; nothing else of the host is on this mount.
  mount --bind -o rw,nosuid,nodev,noexec run run
  mount -t proc -o nosuid,nodev,noexec,hidepid=2,subset=pid proc proc
  wait "$!"
  mount -o remount,bind,ro,nosuid,nodev,noexec "$jail"
  pivot_root . old
  cd /
  /usr/bin/umount -n -l /old
  unset OLDPWD
  ulimit -n 256
  ulimit -c 0
  ulimit -l 0
  ulimit -f "$fsize_blocks"
  echo built >&3
  exec /usr/bin/setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs \
    --inh-caps=-all --ambient-caps=-all --bounding-set=-all -- "$@" </dev/null
}

# unshare --pid moves only children: the first one is PID 1 of the new namespace. Ending here leaves no privileged parent beside the VMM.
build "$@" &
