import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { partKey, sealChunk } from "./chunk.ts";
import { chunkBytes, encodeHeader, headerDigest, lastRecord } from "./header.ts";
import { inspectSet, SealBrokenError } from "./open-set.ts";
import { sealSet } from "./seal-set.ts";
import { exampleHeader, growingPartOf, opened, orderOf, partOf, recordEdges, scratch } from "./testing.ts";

const sizes = [0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3 * chunkBytes];

for (const compression of ["zeros", "zstd"] as const) {
  test(`parts of every length come back as they were (${compression})`, async (t) => {
    const directory = scratch(t);
    for (const bytes of sizes) {
      const path = join(directory, `${bytes}`);
      const [noise, text] = [randomBytes(bytes), Buffer.alloc(bytes, "lobster ")];
      const empty = Buffer.alloc(bytes);
      const sized = [partOf("memory", noise), partOf("state", text), partOf("empty", empty)];
      const growing = [growingPartOf("memory-2", noise), growingPartOf("empty-2", empty)];
      const order = orderOf(path, [...sized, ...growing], { compression });
      await sealSet(order);
      const parts = await opened(path, order.dataKey);
      assert.deepEqual([...parts.keys()], ["memory", "state", "empty", "memory-2", "empty-2"]);
      for (const name of ["memory", "memory-2"]) assert.ok(parts.get(name)?.equals(noise));
      for (const name of ["empty", "empty-2"]) assert.ok(parts.get(name)?.equals(empty));
      assert.ok(parts.get("state")?.equals(text));
    }
  });
}

test("empty memory takes no room, and text less than it is long", async (t) => {
  const path = join(scratch(t), "set");
  await sealSet(orderOf(path, [partOf("memory", Buffer.alloc(16 * 1024 * 1024))]));
  assert.ok(statSync(path).size < 16_384);
  await sealSet(orderOf(`${path}2`, [partOf("text", Buffer.alloc(1_000_000, "lobster"))], { compression: "zstd" }));
  assert.ok(statSync(`${path}2`).size < 20_000);
});

test("a set is private, tells its header without a key, and hides everything else", async (t) => {
  const path = join(scratch(t), "set");
  const marker = randomBytes(64);
  await sealSet(orderOf(path, [partOf("memory", Buffer.concat([Buffer.alloc(5000, 1), marker]))]));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.ok(!existsSync(`${path}.partial`));
  const header = await inspectSet(path);
  assert.equal(header.tenant, "alice");
  assert.deepEqual(header.parts, [{ name: "memory", plainBytes: 5064, chunkCount: 1 }]);
  assert.ok(!readFileSync(path).includes(marker));
});

test("a set never replaces a file, follows no link, and a source of another length leaves nothing", async (t) => {
  const directory = scratch(t);
  const path = join(directory, "set");
  writeFileSync(path, "kept");
  await assert.rejects(sealSet(orderOf(path, [partOf("memory", randomBytes(10))])), /EEXIST/);
  assert.equal(readFileSync(path, "utf8"), "kept");
  symlinkSync(join(directory, "elsewhere"), `${path}2.partial`);
  await assert.rejects(sealSet(orderOf(`${path}2`, [partOf("memory", randomBytes(10))])), /EEXIST/);
  assert.ok(!existsSync(join(directory, "elsewhere")));
  for (const plainBytes of [9, 11]) {
    const lying = { ...partOf("memory", randomBytes(10)), plainBytes };
    await assert.rejects(sealSet(orderOf(`${path}3`, [lying])), RangeError);
    assert.ok(!existsSync(`${path}3`) && !existsSync(`${path}3.partial`));
  }
  symlinkSync(path, `${path}4`);
  await assert.rejects(inspectSet(`${path}4`), /ELOOP/);
  await assert.rejects(inspectSet(path), (error) => error instanceof SealBrokenError && error.fault === "TRUNCATED");
  writeFileSync(path, "no set, but long enough");
  await assert.rejects(
    inspectSet(path),
    (error) => error instanceof SealBrokenError && error.fault === "NOT_A_SEALED_SET",
  );
});

test("a header has one encoding, and fields out of form have none", () => {
  const header = { ...exampleHeader, parts: [{ name: "memory", plainBytes: 1, chunkCount: 1 }] };
  for (const wrong of [
    { tenant: "../etc" },
    { generation: 0 },
    { counter: 1.5 },
    { parts: [{ name: "memory", plainBytes: 65_537, chunkCount: 1 }] },
    { parts: [{ name: "memory", plainBytes: 1 }] },
    { parts: [{ name: "memory", chunkCount: 1 }] },
    { parts: [...header.parts, ...header.parts] },
    { unknown: 1 },
  ]) {
    assert.throws(() => encodeHeader({ ...header, ...wrong }));
  }
});

test("known answers, which WebCrypto opens too", async () => {
  const encoded = encodeHeader({ ...exampleHeader, parts: [{ name: "memory", plainBytes: 5, chunkCount: 1 }] });
  const [dataKey, salt] = [Buffer.alloc(32, 7), headerDigest(encoded)];
  const record = Buffer.concat(sealChunk(partKey(dataKey, salt, "memory"), 0, true, Buffer.from("hello"), "zeros"));
  assert.equal(salt.toString("hex", 0, 16), "1461a392bab2179adb83d0a20b1016ea");
  assert.equal(record.toString("hex"), "13456f1dc5634d9fbcd0dd5e61f9d1fa02718b13a8dd");
  const { subtle } = globalThis.crypto;
  const secret = await subtle.importKey("raw", dataKey, "HKDF", false, ["deriveKey"]);
  const derivation = { name: "HKDF", hash: "SHA-256", salt, info: Buffer.from("memory") };
  const key = await subtle.deriveKey(derivation, secret, { name: "AES-GCM", length: 256 }, false, ["decrypt"]);
  const iv = Buffer.from("000000000000000000000001", "hex");
  const plain = await subtle.decrypt({ name: "AES-GCM", iv }, key, record);
  assert.equal(Buffer.from(plain).toString("latin1"), "\0hello");
});

test("a part without a length ends nowhere but at its own end", async (t) => {
  const path = join(scratch(t), "set");
  const order = orderOf(path, [growingPartOf("state", randomBytes(2 * chunkBytes)), partOf("end", randomBytes(9))]);
  await sealSet(order);
  assert.deepEqual((await inspectSet(path)).parts[0], { name: "state" });
  const whole = readFileSync(path);
  const edges = recordEdges(path);
  const [first = 0, second = 0, third = 0, end = 0] = edges;
  const marked = (edge: number) => {
    const copy = Buffer.from(whole);
    copy.writeUInt32BE((copy.readUInt32BE(edge) ^ lastRecord) >>> 0, edge);
    return copy;
  };
  const changes = {
    "ends before its last chunk": Buffer.concat([marked(second).subarray(0, third), whole.subarray(end)]),
    "ends at once": Buffer.concat([whole.subarray(0, first), whole.subarray(end)]),
    "ends earlier by a mark": marked(second),
    "goes on after its end": Buffer.concat([marked(third).subarray(0, end), whole.subarray(third)]),
    "has a record of the part behind it": Buffer.concat([whole.subarray(0, third), whole.subarray(end)]),
  };
  for (const [what, changed] of Object.entries(changes)) {
    writeFileSync(path, changed);
    await assert.rejects(opened(path, order.dataKey), SealBrokenError, what);
  }
});

test("every edge of a record is a bad place to end", async (t) => {
  const path = join(scratch(t), "set");
  const order = orderOf(path, [partOf("memory", randomBytes(200_000)), partOf("state", randomBytes(100))]);
  await sealSet(order);
  const whole = readFileSync(path);
  const edges = recordEdges(path);
  assert.equal(edges.at(-1), whole.length);
  for (const edge of [0, 5, 12, ...edges.slice(0, -1), whole.length - 1]) {
    writeFileSync(path, whole.subarray(0, edge));
    await assert.rejects(
      opened(path, order.dataKey),
      (error) => error instanceof SealBrokenError && error.fault === "TRUNCATED",
      `${edge}`,
    );
  }
});
