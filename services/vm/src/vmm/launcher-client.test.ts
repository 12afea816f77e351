import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { openLauncherClient } from "./launcher-client.ts";

/** A launcher that treats each connection as `behave` says. */
async function withLauncher(
  behave: (socket: Socket) => void,
  work: (socketPath: string) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(`${tmpdir()}/lobsterd-launcher-client-`);
  const path = `${directory}/launcher.sock`;
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket.on("error", () => {}));
    behave(socket);
  });
  await new Promise<void>((resolve) => void server.listen(path, resolve));
  try {
    await work(path);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true });
  }
}

const says = (text: string) => (socket: Socket) => void socket.end(text);
const hostile: readonly (readonly [string, (socket: Socket) => void, string])[] = [
  ["closes at once", (socket) => void socket.destroy(), "UNAVAILABLE"],
  ["ends without an answer", says(""), "UNAVAILABLE"],
  ["is cut off in its answer", says('{"ok":true'), "UNAVAILABLE"],
  ["sends no JSON", says("hello\n"), "INVALID_ANSWER"],
  ["sends an unknown reason", says('{"ok":false,"reason":"TIRED","message":""}\n'), "INVALID_ANSWER"],
  ["sends another result", says('{"ok":true,"result":{"vms":[{"vmId":"x","state":"running"}]}}\n'), "INVALID_ANSWER"],
  ["never stops sending", (socket) => void socket.write("x".repeat(300 * 1024)), "INVALID_ANSWER"],
  ["refuses", says('{"ok":false,"reason":"HOST_UNSAFE","message":"why"}\n'), "HOST_UNSAFE"],
];

test("whatever a launcher does is one of the port's failures", async () => {
  for (const [name, behave, reason] of hostile) {
    await withLauncher(behave, async (socketPath) => {
      await assert.rejects(openLauncherClient({ socketPath }).list(), { reason }, name);
    });
  }
});

test("a launcher that is not there is UNAVAILABLE", async () => {
  await assert.rejects(openLauncherClient({ socketPath: "/nonexistent/launcher.sock" }).describe(), {
    reason: "UNAVAILABLE",
  });
});

test("a launcher that does not answer is TIMED_OUT, for the calls that wait for a connection too", async () => {
  await withLauncher(
    () => {},
    async (socketPath) => {
      const port = openLauncherClient({ socketPath, deadlineMs: 50 });
      const calls = Array.from({ length: 20 }, () => assert.rejects(port.list(), { reason: "TIMED_OUT" }));
      await Promise.all(calls);
    },
  );
});

test("at most twelve connections are open at a time, and every call gets its answer", async () => {
  let open = 0;
  let most = 0;
  const behave = (socket: Socket) => {
    open += 1;
    most = Math.max(most, open);
    socket.once("close", () => {
      open -= 1;
    });
    socket.once("data", () => setImmediate(() => socket.end('{"ok":true,"result":{"vms":[]}}\n')));
  };
  await withLauncher(behave, async (socketPath) => {
    const port = openLauncherClient({ socketPath });
    const lists = await Promise.all(Array.from({ length: 100 }, () => port.list()));
    assert.equal(lists.length, 100);
    assert.ok(most > 1 && most <= 12, `${most} connections`);
  });
});
