import { type Control, failed, judged, notApplicable, pass, unknown } from "../control.ts";

const cgroup2Magic = 0x63677270;

/**
 * The catalogue gives neither row of this file a priority, but says of both that `vm` refuses such a host. So both are required.
 */
export const cgroupsUnified: Control = {
  id: "HOST-15",
  required: true,
  requirement: "/sys/fs/cgroup is cgroup version 2 (QEMU may use version 1)",
  remedy: "boot with systemd.unified_cgroup_hierarchy=1 (deploy/host/kernel-command-line)",
  check: async ({ files, vmm }) =>
    judged(await files.fileSystemType("/sys/fs/cgroup"), (type) => {
      const measured = `file system type 0x${type.toString(16)}`;
      if (type === cgroup2Magic) return pass(`${measured}: version 2`);
      return vmm?.vmm === "qemu"
        ? notApplicable(`${measured}: not version 2, which QEMU does without`)
        : failed(measured);
    }),
};

/** arm64 needs a kernel with a counter offset, or guests read the host's physical counter, and a backport in guests. */
export const architectureSupported: Control = {
  id: "HOST-16",
  required: true,
  requirement: "the host is x86_64",
  remedy: "use an x86_64 host: arm64 is refused in this release",
  check: async ({ files }) =>
    judged(await files.text("/proc/cpuinfo"), (text) => {
      const flags = /^flags\s*:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/);
      // Long mode: what makes an x86 CPU a 64-bit one.
      if (flags?.includes("lm") === true) return pass("x86_64");
      if (flags !== undefined) return failed("x86 without 64 bits");
      return /^CPU implementer\s*:/m.test(text) ? failed("arm64") : unknown("/proc/cpuinfo names no architecture");
    }),
};
