import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { z } from "zod";
import { openMonitor } from "./monitor.ts";

const greeting = '{"QMP": {"version": {}, "capabilities": []}}\r\n';
const statusSchema = z.looseObject({ status: z.string() });

/** A QEMU that answers each line as `answer` says; undefined closes. */
async function withQemu(
  answer: (command: string, id: number) => string | undefined,
  work: (channel: Socket) => Promise<void>,
  first = greeting,
): Promise<void> {
  const directory = mkdtempSync(`${tmpdir()}/lobsterd-monitor-`);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    socket.write(first);
    socket.on("data", (chunk) => {
      for (const line of String(chunk).split("\n").filter(Boolean)) {
        const { execute, id } = JSON.parse(line) as { execute: string; id: number };
        const text = execute === "qmp_capabilities" ? `{"return": {}, "id": ${id}}\n` : answer(execute, id);
        if (text === undefined) socket.destroy();
        else socket.write(text);
      }
    });
  });
  await new Promise<void>((resolve) => void server.listen(`${directory}/qmp`, resolve));
  try {
    const channel = connect(`${directory}/qmp`);
    channel.on("error", () => {});
    await work(channel);
    channel.destroy();
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true });
  }
}

test("answers belong to their commands, and events are remembered", async () => {
  const answer = (command: string, id: number) =>
    `{"event": "RESUME", "timestamp": {}}\n{"return": {"status": "stale"}, "id": ${id - 1}}\n{"return": {"status": "${command}"}, "id": ${id}}\n`;
  await withQemu(answer, async (channel) => {
    const monitor = await openMonitor(channel);
    assert.ok(!monitor.events.has("RESUME"));
    const statuses = await Promise.all(
      ["one", "two", "three"].map((command) => monitor.execute(command, statusSchema)),
    );
    assert.deepEqual(
      statuses.map(({ status }) => status),
      ["one", "two", "three"],
    );
    assert.ok(monitor.events.has("RESUME"));
  });
});

const hostile: readonly (readonly [string, (id: number) => string | undefined])[] = [
  ["closes", () => undefined],
  ["refuses", (id) => `{"error": {"class": "GenericError", "desc": "no"}, "id": ${id}}\n`],
  ["sends no JSON", () => "hello\n"],
  ["sends JSON of another kind", () => "[1]\n"],
  ["answers something else", (id) => `{"return": {"status": 7}, "id": ${id}}\n`],
  ["never ends its line", () => "x".repeat(70_000)],
];

test("whatever QEMU does is VMM_FAILED", async () => {
  for (const [name, answer] of hostile)
    await withQemu(
      (_command, id) => answer(id),
      async (channel) => {
        const monitor = await openMonitor(channel);
        await assert.rejects(monitor.execute("query-status", statusSchema), { reason: "VMM_FAILED" }, name);
      },
    );
  for (const first of ["hello\n", "x".repeat(70_000)])
    await withQemu(
      () => undefined,
      (channel) => assert.rejects(openMonitor(channel), { reason: "VMM_FAILED" }),
      first,
    );
});

test("a QEMU that does not answer, or talks of other things only, is TIMED_OUT", async () => {
  for (const answer of ["", '{"event": "X"}\n'.repeat(200)])
    await withQemu(
      () => answer,
      async (channel) => {
        const monitor = await openMonitor(channel, 100);
        await assert.rejects(monitor.execute("query-status", statusSchema), { reason: "TIMED_OUT" });
      },
    );
});
