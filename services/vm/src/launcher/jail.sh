#!/bin/sh
# Builds the jail of one microVM and becomes its VMM. Every value is a positional argument that the launcher derived; nothing is
# interpolated into code. Standard input holds the process back until the launcher has put it into the VM's cgroup; descriptor 3 is
# the VMM's start-up monitor.
set -eu
stage=$1 jail=$2 netns=$3 tree=$4 image=$5 overlay=$6 uid=$7 fsize_blocks=$8

if [ "$stage" = enter ]; then
  shift
  read -r go && [ "$go" = go ] # end of file: the launcher died, so no VMM starts outside its cgroup
  exec nsenter --net="$netns" -- \
    unshare --mount --propagation private --pid --ipc --uts --cgroup -- /bin/sh "$0" build "$@"
fi
shift 8

build() {
  mount --bind "$jail" "$jail"
  cd "$jail"
  mount --bind -o ro,nosuid,nodev "$tree" usr
  mount --bind -o ro,nosuid,nodev,noexec "$image" image
  mount --bind -o rw,nosuid,nodev,noexec "$overlay" overlay.ext4
  mount -t tmpfs -o size=64k,nr_inodes=16,mode=0755,nosuid,noexec dev dev
  mkdir -m 0755 dev/net
  mknod -m 0666 dev/null c 1 3
  mknod -m 0444 dev/urandom c 1 9
  mknod -m 0600 dev/net/tun c 10 200
  chown "$uid:$uid" dev/net/tun
  # A tmpfs of its own: the VMM's sockets are in no directory that a privileged process ever looks a path up in.
  mount -t tmpfs -o "size=64k,nr_inodes=16,mode=0700,uid=$uid,gid=$uid,nosuid,nodev,noexec" run run
  mount -t proc -o nosuid,nodev,noexec,hidepid=2,subset=pid proc proc
  mount -o remount,bind,ro,nosuid,nodev,noexec "$jail"
  pivot_root . old
  cd /
  /usr/bin/umount -n -l /old
  unset OLDPWD
  ulimit -n 256
  ulimit -c 0
  ulimit -l 0
  ulimit -f "$fsize_blocks"
  exec /usr/bin/setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs \
    --inh-caps=-all --ambient-caps=-all --bounding-set=-all -- "$@" </dev/null
}

# unshare --pid moves only children: the first one is PID 1 of the new namespace. Ending here leaves no privileged parent beside the VMM.
build "$@" &
