import { vmmConformance } from "./conformance.ts";
import { createFakeVmm } from "./fake.ts";

vmmConformance("fake", async () => {
  const port = createFakeVmm({ images: ["base", "other"], slotCount: 8, slotsWithoutNetwork: [3] });
  return {
    port,
    exit: (vmId) => port.exit(vmId),
    readIdentityDrive: (vmId) => port.identityDrive(vmId) ?? new Uint8Array(),
    guest: { readMark: async (vmId) => port.memory(vmId), runs: async (vmId) => port.guestRuns(vmId) },
    close: () => {},
  };
});
