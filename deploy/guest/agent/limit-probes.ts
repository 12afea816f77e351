import assert from "node:assert/strict";
import { ask, echo, openWebSocket } from "@lobsterd/proxy/testing/https-client.ts";
import { assertRefused, hostOf, type Stage } from "@lobsterd/proxy/testing/probes.ts";
import type { WebSocket } from "ws";

/** Opened at a time: enough to be quick, few enough for every handshake to be in time. */
const atOnce = 16;

/** Of `limit` + `atOnce` WebSockets for alpha exactly `limit` open; a request beside them is refused at once, and beta notices nothing. */
export async function aTenantHasSoManyConnections(stage: Stage, limit: number): Promise<void> {
  const { front, publish } = stage;
  for (const tenant of ["alpha", "beta"]) await publish(tenant);
  const sockets: WebSocket[] = [];
  try {
    let refused = 0;
    for (let tried = 0; tried < limit + atOnce; tried += atOnce) {
      const tries = Array.from({ length: atOnce }, () => openWebSocket(front, hostOf("alpha")));
      for (const { status, ...result } of await Promise.allSettled(tries)) {
        if (status === "fulfilled" && "value" in result) sockets.push(result.value);
        else refused += 1;
      }
    }
    assert.deepEqual({ open: sockets.length, refused }, { open: limit, refused: atOnce });
    assertRefused(await ask(front, hostOf("alpha")), 502, "TENANT_UNREACHABLE");
    assert.equal((await ask(front, hostOf("beta"))).status, 200);
    const [first, last] = [sockets[0], sockets.at(-1)];
    for (const socket of [first, last]) assert.equal(socket && (await echo(socket, "open")), "alpha:open");
  } finally {
    for (const socket of sockets) socket.terminate();
  }
}
