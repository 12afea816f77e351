import assert from "node:assert/strict";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { exampleHeader } from "../sealing/testing.ts";
import { readHostFacts, refuseOtherMachine } from "./machine-facts.ts";

test("CPU and microcode are read from the first processor, and what is not there or not printable is no failure", () => {
  const cpuInfo = "processor\t: 0\nmodel name\t: EPYC\u00ae 7\nmicrocode\t: 0xa0011d1\n\nmodel name\t: other\n";
  const { cpuModel, microcode, hostKernel } = readHostFacts(cpuInfo);
  assert.deepEqual([cpuModel, microcode], ["EPYC? 7", "0xa0011d1"]);
  assert.notEqual(hostKernel, "");
  assert.deepEqual(readHostFacts("").microcode, "unknown");
});

const { machine } = exampleHeader;
const other = { ...machine.imageDigests, initrd: "d".repeat(64) };
for (const [name, change] of Object.entries({
  vmm: { vmm: "other" },
  vmmVersion: { vmmVersion: "7.2.23" },
  accelerator: { accelerator: "kvm" },
  cpuModel: { cpuModel: "other" },
  microcode: { microcode: "0x1" },
  hostKernel: { hostKernel: "6.12" },
  vcpuCount: { vcpuCount: 2 },
  memoryMib: { memoryMib: 256 },
  image: { image: "other" },
  imageDigests: { imageDigests: other },
})) {
  test(`a state of another ${name} is refused by name`, () => {
    refuseOtherMachine(machine, structuredClone(machine));
    assert.throws(
      () => refuseOtherMachine({ ...machine, ...change }, machine),
      (error) => reasonOf(error) === "MACHINE_DIFFERS" && String(error).includes(name),
    );
  });
}
