#!/bin/sh
# Has Firecracker's jailer build the jail of one microVM, and puts the VM's files into it. Every value is a positional argument that the
# launcher derived; nothing is interpolated into code. Standard input holds the process back until the launcher has seen it in the VM's
# cgroup, so that the jailer runs inside its limits; descriptor 3 says how far it is.
set -euC
stage=$1 base=$2 root=$3 image=$4 overlay=$5 uid=$6 cgroup_files=$7

if [ "$stage" = enter ]; then
  shift
  IFS=:
  for file in $cgroup_files; do echo 0 >|"$file"; done
  unset IFS
  echo joined >&3
  # End of file: the launcher died.
  read -r go
  [ "$go" = go ]
  exec unshare --mount --propagation private -- /bin/sh "$0" build "$@"
fi
shift 7

# The jailer makes every mount a slave of ours before it leaves for its own root: what is mounted below here afterwards appears in the
# jail. This namespace goes with the script, so that the jail alone keeps the mounts and the host never sees one.
mount --bind "$base" "$base"
mount -o remount,bind,rw,nosuid,dev,exec "$base"
mount --make-shared "$base"
ulimit -c 0
env -i "$@" </dev/null >/dev/null 3>&-

# No guest code has run, and nobody can reach the API yet. `set -C` creates exclusively.
give() {
  if [ -d "$1" ]; then mkdir "$root/$2"; else : >"$root/$2"; fi
  # On itself first: flags that are set later would not reach the jail.
  mount --bind -o "$3,nosuid,nodev,noexec" "$1" "$1"
  mount --bind "$1" "$root/$2"
}
give "$image/vmlinux" vmlinux ro
give "$image/initrd.cpio" initrd.cpio ro
give "$image/rootfs.erofs" rootfs.erofs ro
give "$overlay" overlay.ext4 rw
give "$base/identity.img" identity.img ro
give "$base/saved" saved rw
for name in log metrics serial; do
  mkfifo -m 0600 "$root/$name.fifo"
  chown -h "$uid:$uid" "$root/$name.fifo"
done
echo built >&3
