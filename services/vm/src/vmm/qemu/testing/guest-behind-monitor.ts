import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { z } from "zod";
import { bootMarkAddress } from "../../../launcher/testing.ts";
import type { GuestUnderTest } from "../../vmm-under-test.ts";
import type { QemuHost } from "../adapter.ts";
import { openMonitor } from "../monitor.ts";

/** What a halting guest has in its memory, and whether it runs, as the VMM's monitor tells it. */
export function guestBehindMonitor(host: QemuHost): GuestUnderTest {
  const ask = async <T>(vmId: string, command: string, schema: z.ZodType<T>, values?: Record<string, unknown>) => {
    const monitor = await openMonitor(await host.connect(vmId, "api"));
    try {
      return await monitor.execute(command, schema, values);
    } finally {
      monitor.close();
    }
  };
  const words = `xp /2xw ${bootMarkAddress}`;
  return {
    readMark: (vmId) =>
      waitFor(
        "the guest's mark",
        async () => {
          const read = await ask(vmId, "human-monitor-command", z.string(), { "command-line": words });
          return / 0x0{8} 0x0{8}/.test(read) ? undefined : read;
        },
        { timeoutMs: 20_000, intervalMs: 20 },
      ),
    runs: async (vmId) => (await ask(vmId, "query-status", z.looseObject({ running: z.boolean() }))).running,
  };
}
