import assert from "node:assert/strict";
import { test } from "node:test";
import { isMessage } from "@bufbuild/protobuf";
import { HealthResponseSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { fuzzAnswers } from "./fuzz-answers.ts";

const rounds = 20;
const maximumGrowthBytes = 64 * 1024 * 1024;

test("of 1,000,000 hostile answers none crashes the host's side or makes it grow", () => {
  const run = () =>
    fuzzAnswers(1_000_000 / rounds, (_schema, answer) => {
      if (isMessage(answer, HealthResponseSchema)) assert.ok(answer.spans.length <= 64);
    });
  run();
  const beforeBytes = process.memoryUsage().rss;
  for (let round = 1; round < rounds; round += 1) run();
  assert.ok(process.memoryUsage().rss - beforeBytes < maximumGrowthBytes);
});
