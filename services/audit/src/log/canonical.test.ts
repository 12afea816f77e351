import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { draft } from "../testing/test-log.ts";
import { decodeLeaf, encodeLeaf, type Instant, type LogRecord, leafHash, maxCanonicalBytes } from "./canonical.ts";

type Text<T> = { [K in keyof T]: T[K] extends Instant ? { seconds: string; nanos: number } : T[K] };
type Vector = {
  name: string;
  record: Text<Omit<LogRecord, "draft">> & { draft: Text<LogRecord["draft"]> };
  canonicalHex: string;
  leafHashHex: string;
};

// Written by an implementation in another language from the byte layout in the README: they change only with the version byte.
const vectors: Vector[] = JSON.parse(readFileSync(new URL("canonical.vectors.json", import.meta.url), "utf8"));

const instant = ({ seconds, nanos }: { seconds: string; nanos: number }) => ({ seconds: BigInt(seconds), nanos });

function recordOf({ record }: Vector): LogRecord {
  return {
    ...record,
    appendTime: instant(record.appendTime),
    draft: { ...record.draft, time: instant(record.draft.time) },
  };
}

const isOld = ({ canonicalHex }: Vector) => canonicalHex.startsWith("01");
const notInVersion1 = { onBehalfOf: "", writerBootId: "", writerSequence: 0 };

describe("canonical record", () => {
  for (const vector of vectors.filter((one) => !isOld(one))) {
    it(`has the bytes, the hash and the meaning of the vector "${vector.name}"`, () => {
      const leaf = encodeLeaf(recordOf(vector));
      assert.equal(leaf.toString("hex"), `00${vector.canonicalHex}`);
      assert.equal(leafHash(leaf).toString("hex"), vector.leafHashHex);
      assert.deepEqual(decodeLeaf(leaf), recordOf(vector));
    });
  }

  for (const vector of vectors.filter(isOld)) {
    it(`of an earlier version still has its hash and its meaning: "${vector.name}"`, () => {
      const leaf = Buffer.from(`00${vector.canonicalHex}`, "hex");
      assert.equal(leafHash(leaf).toString("hex"), vector.leafHashHex);
      const record = recordOf(vector);
      assert.deepEqual(decodeLeaf(leaf), { ...record, draft: { ...record.draft, ...notInVersion1 } });
    });
  }

  it("changes with every field", () => {
    const record: LogRecord = {
      sequence: 1,
      appendTime: { seconds: 2n, nanos: 3 },
      bootId: "boot",
      writer: "writer",
      draft: draft(1),
    };
    const changed: LogRecord[] = [
      { ...record, sequence: 2 },
      { ...record, appendTime: { seconds: 3n, nanos: 3 } },
      { ...record, appendTime: { seconds: 2n, nanos: 4 } },
      { ...record, bootId: "boot2" },
      { ...record, writer: "writer2" },
      ...Object.entries(record.draft).map(([key, value]) => ({
        ...record,
        draft: {
          ...record.draft,
          [key]: typeof value === "object" ? { ...value, nanos: 9 } : typeof value === "number" ? 77 : `${value}x`,
        },
      })),
    ];
    const hashes = [record, ...changed].map((one) => leafHash(encodeLeaf(one)).toString("hex"));
    assert.equal(new Set(hashes).size, 5 + 16 + 1);
  });

  it("does not let text move from one field to the next", () => {
    const one = { sequence: 0, appendTime: { seconds: 0n, nanos: 0 }, bootId: "ab", writer: "c", draft: draft(1) };
    assert.notDeepEqual(encodeLeaf(one), encodeLeaf({ ...one, bootId: "a", writer: "bc" }));
  });

  it("refuses a record that does not fit", () => {
    const one = { sequence: 0, appendTime: { seconds: 0n, nanos: 0 }, bootId: "", writer: "", draft: draft(1) };
    assert.throws(() => encodeLeaf({ ...one, writer: "x".repeat(maxCanonicalBytes) }), RangeError);
    assert.throws(() => encodeLeaf({ ...one, writer: "\u4e2d".repeat(maxCanonicalBytes / 2) }), RangeError);
  });

  it("decodes nothing but the one encoding of a record", () => {
    const leaf = encodeLeaf(
      recordOf(vectors.find((one) => !isOld(one) && one.record.bootId !== "") ?? assert.fail("no vector")),
    );
    assert.throws(() => decodeLeaf(Buffer.concat([leaf, Buffer.of(0)])), /left after/);
    for (let length = 0; length < leaf.length; length += 1) {
      assert.throws(() => decodeLeaf(leaf.subarray(0, length)), RangeError, `first ${length} bytes`);
    }
    assert.throws(() => decodeLeaf(Buffer.concat([Buffer.of(1), leaf.subarray(1)])), /0x00/);
    assert.throws(() => decodeLeaf(Buffer.concat([Buffer.of(0, 3), leaf.subarray(2)])), /version 3/);
    const invalidText = Buffer.from(leaf);
    invalidText[2 + 8 + 12 + 2] = 0xff;
    assert.throws(() => decodeLeaf(invalidText), TypeError);
  });
});
