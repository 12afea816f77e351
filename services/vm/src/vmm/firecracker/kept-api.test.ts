import assert from "node:assert/strict";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { keepApi } from "./kept-api.ts";

const vmId = "0a".repeat(16);
const deadlines = { callMs: 30_000, snapshotMs: 30_000 };

/** A VMM that says it is `id` when it is told to, and takes note of everything that it is asked. */
function vmm(id: string) {
  const asked: string[] = [];
  const answers: (() => void)[] = [];
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      asked.push(String(chunk).split(" HTTP")[0] ?? "");
      const body = JSON.stringify({ app_name: "Firecracker", id, state: "Running", vmm_version: "1.16.1" });
      answers.push(() => void stream.push(`HTTP/1.1 200 \r\nContent-Length: ${body.length}\r\n\r\n${body}`));
      done();
    },
  });
  return { stream, asked, answer: () => answers.shift()?.() };
}
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("nobody gets an API before its VMM said who it is, however many wait for it", async () => {
  const other = vmm("0b".repeat(16));
  const api = keepApi(vmId, async () => other.stream, deadlines);
  const waiting = [api.get(), api.get()].map(async (got) => (await got).pause());
  await settled();
  assert.equal(api.state, "busy");
  const late = api.get().then((got) => got.pause());
  other.answer();
  for (const call of [...waiting, late]) await assert.rejects(call, { reason: "MACHINE_MISMATCH" });
  assert.deepEqual([other.asked, other.stream.destroyed, api.state], [["GET /"], true, "none"]);
});

test("one connection serves all, and one that was lost is made anew and asked again", async () => {
  const vmms = [vmm(vmId), vmm(vmId)];
  let opened = 0;
  const open = async () => {
    const next = vmms[opened];
    opened += 1;
    if (next === undefined) throw new Error("too many connections");
    void settled().then(settled).then(next.answer);
    return next.stream;
  };
  const api = keepApi(vmId, open, deadlines);
  assert.equal(api.state, "none");
  const [one, same] = await Promise.all([api.get(), api.get()]);
  assert.equal(one, same);
  assert.deepEqual([opened, api.state], [1, "idle"]);
  vmms[0]?.stream.destroy();
  await settled();
  assert.equal(api.state, "none");
  assert.notEqual(await api.get(), one);
  assert.deepEqual([opened, vmms[1]?.asked], [2, ["GET /"]]);
  api.close();
  assert.ok(vmms[1]?.stream.destroyed);
});

test("one that is closed while its connection is being made has none", async () => {
  const one = vmm(vmId);
  const api = keepApi(vmId, async () => one.stream, deadlines);
  const got = api.get();
  api.close();
  await assert.rejects(got, { reason: "UNAVAILABLE" });
  assert.ok(one.stream.destroyed);
});
