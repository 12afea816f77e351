import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { PageResponseSchema } from "@lobsterd/proto/lobsterd/common/v1/common_pb.ts";
import { openRequestLog } from "./idempotency.ts";
import { openDatabase } from "./sqlite.ts";

const request = Buffer.from("request");
const answer = (nextPageToken: string) => create(PageResponseSchema, { nextPageToken });

function counted(log: ReturnType<typeof openRequestLog>) {
  let effects = 0;
  const run = (id: string, method = "Spawn", bytes = request, wait: Promise<void> = Promise.resolve()) =>
    log.run(id, method, bytes, PageResponseSchema, async () => {
      effects += 1;
      const token = String(effects);
      await wait;
      return answer(token);
    });
  return { run, effects: () => effects };
}

test("the same request has one effect and one answer, over a restart too", async () => {
  const database = openDatabase(":memory:", []);
  const { run, effects } = counted(openRequestLog(database));
  assert.equal((await run("id-1")).nextPageToken, "1");
  assert.equal((await run("id-1")).nextPageToken, "1");
  const later = counted(openRequestLog(database));
  assert.equal((await later.run("id-1")).nextPageToken, "1");
  assert.deepEqual([effects(), later.effects()], [1, 0]);
});

test("duplicates at the same time share one run", async () => {
  const { run, effects } = counted(openRequestLog(openDatabase(":memory:", [])));
  const gate = Promise.withResolvers<void>();
  const both = [run("id-1", "Spawn", request, gate.promise), run("id-1", "Spawn", request, gate.promise)];
  await assert.rejects(run("id-1", "Evict"), { reason: "REQUEST_ID_REUSED" });
  gate.resolve();
  assert.deepEqual(
    (await Promise.all(both)).map(({ nextPageToken }) => nextPageToken),
    ["1", "1"],
  );
  assert.equal(effects(), 1);
});

test("an id with another request or method is refused", async () => {
  const { run, effects } = counted(openRequestLog(openDatabase(":memory:", [])));
  await run("id-1");
  await assert.rejects(run("id-1", "Spawn", Buffer.from("other")), { reason: "REQUEST_ID_REUSED" });
  await assert.rejects(run("id-1", "Evict"), { reason: "REQUEST_ID_REUSED" });
  assert.equal(effects(), 1);
});

test("a failure is not kept, and no id means no memory", async () => {
  const log = openRequestLog(openDatabase(":memory:", []));
  const failing = log.run("id-1", "Spawn", request, PageResponseSchema, () => Promise.reject(new Error("no")));
  await assert.rejects(failing, /no/);
  const { run, effects } = counted(log);
  await run("id-1");
  await run("");
  await run("");
  assert.equal(effects(), 3);
});
