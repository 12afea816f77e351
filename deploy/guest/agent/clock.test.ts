import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { GuestClock, type MachineClock } from "./clock.ts";

const dayMs = 86_400_000;

/** A machine whose clock is off by `offsetMs` and takes `setCostMs` to set. */
function machine(offsetMs: number, setCostMs: number) {
  let steadyMs = 5_000;
  let wallOffsetMs = offsetMs;
  const sets: number[] = [];
  const clock: MachineClock = {
    wallMs: () => steadyMs + wallOffsetMs,
    steadyMs: () => steadyMs,
    setWall: async (ms) => {
      sets.push(ms);
      steadyMs += setCostMs;
      wallOffsetMs = ms - steadyMs;
    },
  };
  return { clock, sets };
}

function reasonOf(error: unknown): string | undefined {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason;
}

for (const days of [-30, 30]) {
  test(`a clock that is ${days} days off follows the host`, async () => {
    const hostMs = 60 * dayMs;
    const { clock, sets } = machine(hostMs - 5_000 + days * dayMs, 600);
    await new GuestClock(clock).setTo(hostMs);
    const truth = hostMs + clock.steadyMs() - 5_000;
    assert.ok(Math.abs(clock.wallMs() - truth) <= 500, `${clock.wallMs() - truth}`);
    assert.equal(sets.length, 2, "the second try allows for the cost of setting");
  });
}

test("a clock that is right is left alone", async () => {
  const { clock, sets } = machine(1_000_000, 400);
  await new GuestClock(clock).setTo(clock.wallMs() - 100);
  assert.deepEqual(sets, []);
});

test("a clock that is near enough for the caller is left alone", async () => {
  const { clock, sets } = machine(1_000_000, 400);
  await new GuestClock(clock).setTo(clock.wallMs() + 50_000, { withinMs: 60_000 });
  assert.deepEqual(sets, []);
});

test("what the host told a while ago counts from then", async () => {
  const { clock } = machine(0, 0);
  await new GuestClock(clock).setTo(dayMs, { ageMs: 2_000 });
  assert.equal(clock.wallMs(), dayMs + 2_000);
});

test("a time before the last one that was told is refused and changes nothing", async () => {
  const { clock, sets } = machine(0, 0);
  const guest = new GuestClock(clock);
  await guest.setTo(2 * dayMs);
  const before = clock.wallMs();
  await assert.rejects(guest.setTo(2 * dayMs - 1), (error) => reasonOf(error) === "CLOCK_BACKWARDS");
  assert.equal(clock.wallMs(), before);
  assert.equal(sets.length, 1);
  await guest.setTo(2 * dayMs);
});

test("a clock that does not follow is an error, after a bounded number of tries", async () => {
  let tries = 0;
  const stuck: MachineClock = {
    wallMs: () => 0,
    steadyMs: () => 0,
    setWall: async () => {
      tries += 1;
    },
  };
  await assert.rejects(new GuestClock(stuck).setTo(dayMs), (error) => reasonOf(error) === "CLOCK_NOT_SET");
  assert.equal(tries, 4);
});
