import assert from "node:assert/strict";
import { test } from "node:test";
import { rateAlarm } from "./lease-alarm.ts";

test("one more than the limit within a minute is an alarm, once a minute; slower is none", () => {
  let nowMs = 0;
  const alarms: number[] = [];
  const count = rateAlarm(
    3,
    () => nowMs,
    (number) => alarms.push(number),
  );
  for (let index = 0; index < 10; index += 1) {
    count();
    nowMs += 20_000;
  }
  assert.deepEqual(alarms, [], "three a minute");
  nowMs += 60_000;
  for (let index = 0; index < 4; index += 1) count();
  assert.deepEqual(alarms, [4]);
  for (let index = 0; index < 100; index += 1) count();
  assert.deepEqual(alarms, [4]);
  nowMs += 60_000;
  for (let index = 0; index < 4; index += 1) count();
  assert.deepEqual(alarms, [4, 4]);
});
