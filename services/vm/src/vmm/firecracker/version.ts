/** The one version of Firecracker that is run: the floor of several fixes, and what the adapter's requests are written for. */
export const pinnedVersion = "1.16.1";
