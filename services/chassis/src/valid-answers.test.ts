import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage, isMessage, type Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { FinishedSpanSchema, HealthResponseSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { fuzzAnswers } from "./fuzz-answers.ts";
import { refuseInvalidAnswer } from "./valid-answers.ts";

/** Everything textual in what a guest said and was believed. */
function texts(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => (key === "$typeName" || key === "$unknown" ? [] : texts(item)));
}

function assertBounded(schema: DescMessage, answer: Message): void {
  if (isMessage(answer, HealthResponseSchema)) {
    assert.ok(answer.spans.length <= 64);
    assert.match(answer.vmId, /^[0-9a-f]{32}$/);
  }
  // A log line of a stream is text of the guest's choice: its bound is its length, and its reader's affair is the rest.
  if (schema.name === "StreamLogsResponse") return;
  for (const text of texts(answer)) assert.match(text, /^[\x20-\x7e]{0,64}$/);
}

test("of 100,000 hostile answers each is refused, or within its bounds and without a control character", () => {
  const { taken, refused } = fuzzAnswers(100_000, assertBounded);
  assert.ok(taken > 100 && refused > 10_000, `${taken} taken, ${refused} refused`);
});

test("the failure says nothing of what was in the answer", () => {
  const answer = create(HealthResponseSchema, { vmId: "\u001b[31mcanary", generation: 1 });
  assert.throws(
    () => refuseInvalidAnswer(HealthResponseSchema, answer),
    (error) => error instanceof ConnectError && error.code === Code.DataLoss && !error.message.includes("canary"),
  );
});

test("a span whose name has a control character is refused", () => {
  const span = create(FinishedSpanSchema, { traceId: "a".repeat(32), spanId: "b".repeat(16), name: "a\nb" });
  assert.throws(() => refuseInvalidAnswer(FinishedSpanSchema, span), ConnectError);
});
