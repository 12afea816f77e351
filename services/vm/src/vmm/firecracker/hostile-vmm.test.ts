import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { after, before, suite, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { createFirecrackerApi } from "./api-client.ts";
import { openHttpConnection } from "./http-connection.ts";
import type { StubFault } from "./testing/stub-faults.ts";

const mib = 1024 * 1024;
const on = "GET /vm/config";

async function tryConnect(path: string): Promise<Socket | undefined> {
  const socket = connect(path);
  return await once(socket, "connect").then(
    () => socket,
    () => undefined,
  );
}

/** In a process of its own, so that what it sends is not in this one's memory. */
suite("a VMM in another process that answers without end", () => {
  const root = mkdtempSync(`${tmpdir()}/lobsterd-hostile-`);
  const control = `${root}/control.json`;
  const program = `${import.meta.dirname}/testing/stub-main.ts`;
  let vmm: ReturnType<typeof spawn>;
  before(() => {
    vmm = spawn(process.execPath, [program, "--id", "a", "--control", control], { cwd: root, stdio: "inherit" });
  });
  after(() => {
    vmm.kill();
    rmSync(root, { recursive: true });
  });

  const ask = async (fault: StubFault, callMs: number) => {
    const reached = () => tryConnect(`${root}/api.socket`);
    const socket = await waitFor("the VMM", reached, { timeoutMs: 60_000, intervalMs: 10 });
    writeFileSync(control, JSON.stringify([fault]));
    const closed = once(socket, "close");
    const answer = createFirecrackerApi(openHttpConnection(socket), { callMs, snapshotMs: callMs }).getConfiguration();
    const reason = await answer.then(
      () => "answered",
      (error: { reason: string }) => error.reason,
    );
    await closed;
    return { reason, bytesRead: socket.bytesRead };
  };

  for (const kind of ["gigabyte", "endless", "endless-headers"] as const) {
    test(`costs less than 64 MiB and is hung up on: ${kind}`, async () => {
      const peakBefore = process.resourceUsage().maxRSS * 1024;
      for (let round = 0; round < 5; round++) {
        const { reason, bytesRead } = await ask({ on, kind }, 60_000);
        assert.equal(reason, "INVALID_ANSWER");
        assert.ok(bytesRead < 16 * mib, `${bytesRead} bytes were read`);
      }
      assert.ok(process.resourceUsage().maxRSS * 1024 - peakBefore < 64 * mib);
    });
  }

  test("a VMM that drips is hung up on when the deadline is over", async () => {
    assert.equal((await ask({ on, kind: "drip" }, 100)).reason, "TIMED_OUT");
  });
});
