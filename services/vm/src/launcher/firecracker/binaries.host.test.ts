import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync } from "node:fs";
import { test } from "node:test";
import { testDiskKeyText } from "../../vmm/testing-disk-key.ts";
import { launcherTestHost } from "../testing.ts";
import { launcherVerbs } from "../verbs.ts";
import { askVmm, openUnlockedHost } from "./stub-subject.ts";

const { LOBSTERD_FIRECRACKER: firecracker = "", LOBSTERD_JAILER: jailer = "" } = process.env;
const missing = [
  ...(process.getuid?.() === 0 ? [] : ["root"]),
  ...(existsSync(firecracker) ? [] : ["a firecracker binary (LOBSTERD_FIRECRACKER)"]),
  ...(existsSync(jailer) ? [] : ["a jailer binary (LOBSTERD_JAILER)"]),
  ...(existsSync("/sys/fs/cgroup/cgroup.controllers") ? [] : ["cgroup version 2"]),
];
const skip = missing.length > 0 ? `needs ${missing.join(", ")}` : false;

/** Copies, because the programs' directory has to be root's alone. */
function install(directory: string): void {
  mkdirSync(directory, { mode: 0o755 });
  cpSync(firecracker, `${directory}/firecracker`);
  cpSync(jailer, `${directory}/jailer`);
}

test("the real jailer's jail reads back without a difference, and the real VMM answers in it", { skip }, async () => {
  const testHost = launcherTestHost(install);
  try {
    testHost.installHaltingImage("base");
    testHost.addSlot(0);
    const verbs = launcherVerbs(await openUnlockedHost(testHost.config));
    const vmId = "3a".repeat(16);
    await verbs.prepare({ vmId, slot: 0, image: "base", overlayMib: 32, diskKey: testDiskKeyText });
    await verbs.start({
      vmId,
      slot: 0,
      image: "base",
      vcpuCount: 1,
      memoryMib: 128,
      generation: 1,
      identityDrive: "e30=",
    });
    const { version } = await verbs.describe({});
    assert.match(await askVmm(verbs, vmId, "GET", "/version"), new RegExp(`^200 .*${version}`));
    await verbs.remove({ vmId });
    assert.deepEqual(await verbs.list({}), { vms: [] });
  } finally {
    testHost.close();
  }
});
