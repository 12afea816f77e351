import assert from "node:assert/strict";
import { test } from "node:test";
import { bootFaults, type MachineFacts } from "./boot-checks.ts";

const mounts = [
  "root / overlay rw,nosuid,nodev,noatime,lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work 0 0",
  "run /run tmpfs rw,nosuid,nodev,noexec,relatime,size=16384k,mode=755 0 0",
  "tmp /tmp tmpfs rw,nosuid,nodev,relatime,size=65536k 0 0",
  "dev /dev devtmpfs rw,nosuid,noexec,relatime,size=108k 0 0",
  "pts /dev/pts devpts rw,nosuid,noexec,relatime,mode=600,ptmxmode=000,max=8 0 0",
  "proc /proc proc rw,nosuid,nodev,noexec,relatime,hidepid=invisible 0 0",
  "sys /sys sysfs ro,nosuid,nodev,noexec,relatime 0 0",
].join("\n");
const values: Record<string, string> = {
  "kernel/dmesg_restrict": "1\n",
  "kernel/kptr_restrict": "2\n",
  "kernel/yama/ptrace_scope": "2\n",
  "kernel/modules_disabled": "1\n",
  "user/max_user_namespaces": "0\n",
};
const sound: MachineFacts = {
  mounts,
  rootDiskIsReadOnly: "1\n",
  identityDiskExists: false,
  sysctl: (name) => values[name] ?? "",
};

test("a guest as the image's init makes it has no fault", () => {
  assert.deepEqual(bootFaults(sound), []);
});

test("each thing that is not so is named", () => {
  const faultsWith = (change: Partial<MachineFacts>) => bootFaults({ ...sound, ...change });
  assert.deepEqual(faultsWith({ rootDiskIsReadOnly: "0\n" }), ["the root disk can be written to"]);
  assert.deepEqual(faultsWith({ rootDiskIsReadOnly: "" }), ["the root disk can be written to"]);
  assert.deepEqual(faultsWith({ identityDiskExists: true }), ["the identity disk is still there"]);
  assert.deepEqual(faultsWith({ mounts: mounts.replace("rw,nosuid,nodev,noatime", "rw,noatime") }), [
    "/ is not mounted nosuid",
    "/ is not mounted nodev",
  ]);
  assert.deepEqual(faultsWith({ mounts: mounts.replace("mode=600", "mode=620") }), [
    "/dev/pts is not mounted mode=600",
  ]);
  assert.deepEqual(faultsWith({ mounts: mounts.replace("root / overlay", "root / ext4") }), ["/ is not an overlay"]);
  assert.deepEqual(faultsWith({ mounts: mounts.replace("hidepid=invisible", "hidepid=off") }), [
    "/proc is not mounted hidepid=invisible",
  ]);
  for (const [name, value] of Object.entries(values)) {
    const faults = faultsWith({ sysctl: (other) => (other === name ? "7" : (values[other] ?? "")) });
    assert.deepEqual(faults, [`${name} is not ${value.trim()}`]);
  }
});
