/** What Caddy sends to `proxy` about a sleeping tenant, seen by a socket in `proxy`'s place. */
import assert from "node:assert/strict";
import { chownSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { ask } from "./https-client.ts";
import { assertRefused, hostOf } from "./probes.ts";
import { caddyUid } from "./scene-paths.ts";
import type { BareStage } from "./stages.ts";

/** Answers every wake with 503, and returns what was sent for it. */
async function withWakeSocket(stage: BareStage, run: () => Promise<void>): Promise<readonly string[]> {
  const requests: string[] = [];
  const body = '{"reason":"TENANT_NOT_AWAKE"}\n';
  const head =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 9\r\nConnection: close\r\n";
  const answer = (socket: Socket) =>
    socket
      .on("error", () => undefined)
      .once("data", (bytes) => {
        requests.push(bytes.toString("latin1"));
        socket.end(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
      });
  const server = createServer(answer);
  rmSync(stage.paths.wakeSocket, { force: true });
  await new Promise<void>((resolve) => server.listen(stage.paths.wakeSocket, resolve));
  chownSync(stage.paths.wakeSocket, caddyUid, caddyUid);
  try {
    await run();
    return requests;
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

export async function aSleeperIsAskedFor(stage: BareStage): Promise<void> {
  const requests = await withWakeSocket(stage, async () => {
    const answer = await ask(stage.front, hostOf("alpha"));
    assertRefused(answer, 503, "TENANT_NOT_AWAKE");
    assert.equal(answer.headers["retry-after"], "9");
  });
  assert.match(requests.join(), /^GET \/alpha HTTP\/1\.1\r\n/);
  assert.equal(requests.length, 1);
}

/** What a client sends is for its tenant: `proxy` hears a name. */
export async function nothingOfARequestReachesProxy(stage: BareStage): Promise<void> {
  const requests = await withWakeSocket(stage, async () => {
    await ask(stage.front, hostOf("alpha"), {
      ...{ method: "POST", body: "told-body", path: "/told-path?told-query" },
      headers: { Cookie: "told-cookie", Authorization: "Bearer told-token", "X-Told": "told-header" },
    });
  });
  assert.equal(requests.length, 1);
  assert.doesNotMatch(requests[0] ?? "", /told/i);
}
