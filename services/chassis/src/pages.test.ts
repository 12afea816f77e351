import assert from "node:assert/strict";
import { test } from "node:test";
import { decodePageToken, encodePageToken, pageSizeOf } from "./pages.ts";

test("a token gives its key back and nothing else is a token", () => {
  for (const key of ["demo", "ä/0", ""]) assert.equal(decodePageToken(encodePageToken(key)), key);
  assert.equal(decodePageToken(""), "");
  for (const forged of ["x", "!!", "MWRlbW8=", encodePageToken("demo").slice(1), "a".repeat(1000)]) {
    assert.throws(() => decodePageToken(forged), { reason: "INVALID_PAGE_TOKEN" }, forged);
  }
});

test("page sizes are bounded", () => {
  assert.deepEqual(
    [
      pageSizeOf(undefined),
      pageSizeOf({ pageSize: 0 }),
      pageSizeOf({ page: { pageSize: 7 } }),
      pageSizeOf({ pageSize: 9999 }),
    ],
    [50, 50, 7, 500],
  );
});
