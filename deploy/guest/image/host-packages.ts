/** Debian packages that building and booting the images needs on the machine; dpkg-deb and apt are always there. */
export const hostPackages = ["e2fsprogs", "erofs-utils", "iproute2", "qemu-system-x86"] as const;
