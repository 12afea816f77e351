/** What the suites of the VMM port have in common: what they are given, and what they ask of it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import type { VmmPort, VmPreparation, VmStart } from "./port.ts";
import { testDiskKey } from "./testing-disk-key.ts";

/** A VMM port under test, on a host with `slotCount` 8: image "base", slots 0 to 2 with a network, slot 3 without. */
export interface VmmUnderTest {
  readonly port: VmmPort;
  /** Makes a running VM end by itself. */
  exit(vmId: string): Promise<void> | void;
  /** The first bytes of the identity drive as the guest would read them. */
  readIdentityDrive(vmId: string): Uint8Array;
  readonly guest: GuestUnderTest;
  close(): Promise<void> | void;
}

/** Looks into a VM from outside, whether its guest runs or not. */
export interface GuestUnderTest {
  /** Something in the guest's memory that each boot makes anew and that stays as long as the guest lives. */
  readMark(vmId: string): Promise<string>;
  /** Whether the guest's CPUs run. */
  runs(vmId: string): Promise<boolean>;
}

const image = "base";

export const newVmId = (): string => randomBytes(16).toString("hex");
export const preparation = (vmId: string, slot = 0): VmPreparation => ({
  vmId,
  slot,
  image,
  overlayMib: 64,
  diskKey: testDiskKey,
});
export const startOf = (vmId: string, slot = 0, generation = 1): VmStart => ({
  ...{ vmId, slot, image, vcpuCount: 1, memoryMib: 64, generation },
  identityDrive: new TextEncoder().encode(`{"vmId":"${vmId}"}`),
});

/** With a `ServiceError` of this reason. */
export const rejects = (call: Promise<unknown>, reason: string) =>
  assert.rejects(call, (error) => error instanceof ServiceError && error.reason === reason, `expected ${reason}`);
