import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { PassThrough, Readable } from "node:stream";
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

const whole = '{"ok":true,"result":{}}\n';
/** Answers the request, takes a file to its end, and says `last`. */
const takes = (last: string) => (socket: Socket) => {
  socket.once("data", () => {
    socket.write(whole);
    socket.resume().once("end", () => socket.end(last));
  });
};
const files: readonly (readonly [string, (socket: Socket) => void, string | undefined])[] = [
  ["takes it", takes(whole), undefined],
  ["says nothing at its end", takes(""), "UNAVAILABLE"],
  ["is cut off as it says so", takes(whole.slice(0, -1)), "UNAVAILABLE"],
  ["says something else", takes("hello\n"), "INVALID_ANSWER"],
  ["closes in the middle", (socket) => void socket.once("data", () => socket.end(whole)), "UNAVAILABLE"],
  ["has no room", says('{"ok":false,"reason":"VMM_FAILED","message":"no room"}\n'), "VMM_FAILED"],
];

test("a file is sent only when the launcher has said that all of it is there", async () => {
  const { signal } = new AbortController();
  for (const [name, behave, reason] of files) {
    await withLauncher(behave, async (socketPath) => {
      const bytes = Readable.from([Buffer.alloc(300_000), Buffer.alloc(300_000)]);
      const sending = openLauncherClient({ socketPath }).put("0a".repeat(16), "incomingMemory", bytes, signal);
      if (reason === undefined) await sending;
      else await assert.rejects(sending, { reason }, name);
    });
  }
});

test("what a file fails to be read with is told as it is, and one that is given up is at an end", async () => {
  await withLauncher(takes(whole), async (socketPath) => {
    const port = openLauncherClient({ socketPath });
    const broken = new Error("the seal is broken");
    const failing = async function* () {
      yield Buffer.alloc(10);
      throw broken;
    };
    const { signal } = new AbortController();
    await assert.rejects(port.put("0a".repeat(16), "incoming", failing(), signal), (error) => error === broken);
    const giveUp = new AbortController();
    const stalling = new PassThrough();
    const sending = port.put("0a".repeat(16), "incoming", stalling, giveUp.signal);
    stalling.write("some");
    setTimeout(() => giveUp.abort(new Error("stalled")), 50);
    await assert.rejects(sending, { reason: "UNAVAILABLE" });
    stalling.destroy();
  });
});
