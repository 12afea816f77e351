import { test } from "node:test";
import { vmmConformance } from "../conformance.ts";
import { openFirecrackerVmm } from "./adapter.ts";
import { createStubHost } from "./testing/stub-host.ts";

vmmConformance("Firecracker over the stub VMM", async () => {
  const host = createStubHost({ images: ["base", "other"], slotCount: 8, slotsWithoutNetwork: [3] });
  const port = openFirecrackerVmm(host, { onUnresponsive: () => {}, onEnded: () => {} });
  return {
    port,
    exit: (vmId) => host.exit(vmId),
    readIdentityDrive: (vmId) => host.identityDrive(vmId),
    guest: {
      readMark: async (vmId) => host.stub(vmId).machine.mark,
      runs: async (vmId) => host.stub(vmId).machine.state === "Running",
    },
    close: () => {
      port.close();
      host.close();
    },
  };
});

// What a stub cannot show. The runner prints each with the reason.
const needsBinaries = "needs firecracker, jailer and KVM, under the launcher";
for (const name of [
  "a guest boots and is reached over its network",
  "GET /vm/config of the real program equals the expected document",
  "network and disk limiters hold within 10 %",
  "a guest that floods ttyS0 costs the host at most 1 MiB and the VMM 8 MiB",
  "a state that the real program saved into the files of its host is loaded paused and resumed, in the memory of its cgroup",
]) {
  test(`VMM port: Firecracker: ${name}`, (context) => context.skip(needsBinaries));
}
