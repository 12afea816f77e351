import assert from "node:assert/strict";
import { test } from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { toTimestamp } from "./timestamp.ts";

test("a time with fractions of a millisecond can be sent", () => {
  const timestamp = toTimestamp(1_700_000_000_282.125);
  assert.equal(timestamp.seconds, 1_700_000_000n);
  assert.ok(Math.abs(timestamp.nanos - 282_125_000) < 1_000);
  assert.ok(toBinary(TimestampSchema, timestamp).length > 0);
});
