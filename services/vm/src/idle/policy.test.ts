import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { IdleMode, IdlePolicySchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { toIdleMessage, toIdlePolicy } from "./policy.ts";

const host = { defaultIdleMode: "after", idleThresholdMs: 10_000 } as const;
const message = (mode?: IdleMode, thresholdMs?: number) =>
  create(IdlePolicySchema, {
    ...(mode === undefined ? {} : { mode }),
    ...(thresholdMs === undefined ? {} : { threshold: durationFromMs(thresholdMs) }),
  });

test("who says nothing has the host's default; who names a threshold is suspended after it", () => {
  const after = { mode: "after", thresholdMs: 10_000 };
  for (const nothing of [undefined, message(), message(IdleMode.UNSPECIFIED)]) {
    assert.deepEqual(toIdlePolicy(nothing, host), after);
    assert.deepEqual(toIdlePolicy(nothing, { ...host, defaultIdleMode: "manual" }), { mode: "manual" });
    assert.deepEqual(toIdlePolicy(nothing, { ...host, defaultIdleMode: "never" }), { mode: "never" });
  }
  const manualHost = { ...host, defaultIdleMode: "manual" } as const;
  assert.deepEqual(toIdlePolicy(message(IdleMode.AFTER), manualHost), after);
  assert.deepEqual(toIdlePolicy(message(undefined, 2500), manualHost), { mode: "after", thresholdMs: 2500 });
});

test("a policy is shown as it was asked for", () => {
  for (const wanted of [message(IdleMode.AFTER, 2500), message(IdleMode.MANUAL), message(IdleMode.NEVER)])
    assert.deepEqual(create(IdlePolicySchema, toIdleMessage(toIdlePolicy(wanted, host))), wanted);
});
