import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import type { StoredRoute } from "../directory/route-store.ts";
import type { HeldAnswer, WakeVerdict } from "./wake.ts";
import { createWakes, type WakeLimits } from "./wakes.ts";

const stay = new AbortController().signal;
/** What is still held when a test ends is let go, so that nothing waits for its time. */
const releases: (() => void)[] = [];
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Tenants that sleep, and a `vm` that answers when it is told to. */
function open(limits: Partial<WakeLimits> = {}) {
  const routes = new Map<string, StoredRoute>();
  const asked: string[] = [];
  const answers = new Map<string, PromiseWithResolvers<WakeVerdict>>();
  const told: string[] = [];
  const clock = { nowMs: 0 };
  const wakes = createWakes({
    find: (tenant) => routes.get(tenant),
    ask: (tenant, vmId, signal) => {
      asked.push(`${tenant} ${vmId}`);
      const answer = Promise.withResolvers<WakeVerdict>();
      answers.set(tenant, answer);
      signal.addEventListener("abort", () => answer.resolve({ kind: "unknown", reason: "CANCELED" }));
      return answer.promise;
    },
    limits: { holdLimitMs: 3000, maxHeld: 500, maxHeldPerTenant: 200, maxQuestions: 8, ...limits },
    nowMs: () => clock.nowMs,
    told: {
      wakeEnded: (tenant, { kind }) => void told.push(`${tenant} ${kind}`),
      requestReleased: (how) => void told.push(how),
    },
  });
  releases.push(() => {
    for (const tenant of [...routes.keys()]) {
      routes.delete(tenant);
      wakes.routeChanged(tenant);
    }
  });
  const put = (tenant: string, state: "awake" | "asleep", vmId = `vm-of-${tenant}`) => {
    const more = { generation: 1, guestAddress: "10.201.0.1", extraHostNames: [], publishedMs: 0 };
    routes.set(tenant, { tenant, vmId, state, ...more });
    wakes.routeChanged(tenant);
  };
  return {
    ...{ wakes, asked, told, clock, put },
    hold: (tenant: string, left = stay) => wakes.hold(tenant, left),
    withdraw(tenant: string) {
      routes.delete(tenant);
      wakes.routeChanged(tenant);
    },
    async answer(tenant: string, verdict: WakeVerdict) {
      answers.get(tenant)?.resolve(verdict);
      await turn();
    },
  };
}

const refusal = (scope: "tenant" | "host", retryAfterS: number): WakeVerdict => ({
  ...{ kind: "refused", scope, retryAfterS, reason: "TOLD" },
});
const count = (answers: readonly HeldAnswer[], kind: HeldAnswer["kind"]) =>
  answers.filter((answer) => answer.kind === kind).length;

describe("requests to sleeping tenants", () => {
  afterEach(() => {
    for (const release of releases.splice(0)) release();
  });

  it("ask once for a hundred, which go on as soon as the route is awake", async () => {
    const { wakes, put, hold, asked } = open();
    put("demo", "asleep");
    const held = Array.from({ length: 100 }, () => hold("demo"));
    await turn();
    assert.deepEqual(asked, ["demo vm-of-demo"]);
    assert.equal(wakes.held(), 100);
    put("demo", "awake");
    assert.equal(count(await Promise.all(held), "awake"), 100);
    assert.equal(wakes.held(), 0);
  });

  it("are not held when the tenant is awake, and not when there is none", async () => {
    const { put, hold, asked } = open();
    put("demo", "awake");
    assert.deepEqual([await hold("demo"), await hold("nobody")], [{ kind: "awake" }, { kind: "gone" }]);
    assert.deepEqual(asked, []);
  });

  it("are answered at once when the route goes", async () => {
    const { put, hold, withdraw, asked } = open();
    put("demo", "asleep");
    const held = [hold("demo"), hold("demo")];
    withdraw("demo");
    assert.deepEqual(await Promise.all(held), [{ kind: "gone" }, { kind: "gone" }]);
    put("demo", "asleep", "another");
    void hold("demo");
    assert.deepEqual(asked, ["demo vm-of-demo", "demo another"], "the next tenant of the name is asked for itself");
  });

  it("are answered at once when the wake fails, and the tenant is not asked for again before the time that was told", async () => {
    const { put, hold, answer, asked, clock } = open();
    put("demo", "asleep");
    put("other", "asleep");
    const held = [hold("demo"), hold("demo")];
    await answer("demo", refusal("tenant", 30));
    assert.deepEqual(await Promise.all(held), Array(2).fill({ kind: "refused", retryAfterS: 30 }));
    clock.nowMs = 29_001;
    assert.deepEqual(await hold("demo"), { kind: "refused", retryAfterS: 1 });
    void hold("other");
    assert.equal(asked.length, 2, "of another tenant it says nothing");
    clock.nowMs = 30_001;
    void hold("demo");
    assert.equal(asked.length, 3);
  });

  it("are refused for every tenant while the host is busy, with one question in all", async () => {
    const { put, hold, answer, asked, clock } = open();
    for (let index = 0; index < 50; index += 1) put(`t-${index}`, "asleep");
    const first = hold("t-0");
    await answer("t-0", refusal("host", 5));
    const scan = await Promise.all(Array.from({ length: 50 }, (_, index) => hold(`t-${index}`)));
    assert.deepEqual(await first, { kind: "refused", retryAfterS: 5 });
    assert.equal(count(scan, "refused"), 50);
    assert.equal(asked.length, 1);
    clock.nowMs = 5001;
    void hold("t-7");
    assert.equal(asked.length, 2);
  });

  it("forget a refusal when the tenant is woken by somebody else", async () => {
    const { put, hold, answer, asked } = open();
    put("demo", "asleep");
    void hold("demo");
    await answer("demo", refusal("tenant", 3600));
    put("demo", "awake");
    put("demo", "asleep");
    void hold("demo");
    assert.equal(asked.length, 2);
  });

  it("join a wake that is under way though the host is busy for others", async () => {
    const { put, hold, answer } = open();
    put("demo", "asleep");
    put("other", "asleep");
    const demo = hold("demo");
    const other = hold("other");
    await answer("other", refusal("host", 5));
    const joined = hold("demo");
    put("demo", "awake");
    assert.deepEqual(
      (await Promise.all([demo, joined, other])).map(({ kind }) => kind),
      ["awake", "awake", "refused"],
    );
  });

  it("are bounded for a tenant, in all, and in how many tenants are asked about", async () => {
    const { wakes, put, hold, told, asked } = open({ maxHeld: 5, maxHeldPerTenant: 3, maxQuestions: 2 });
    for (const tenant of ["a", "b", "c"]) put(tenant, "asleep");
    for (let index = 0; index < 3; index += 1) void hold("a");
    assert.deepEqual(await hold("a"), { kind: "refused", retryAfterS: 5 });
    void hold("b");
    assert.equal((await hold("c")).kind, "refused");
    assert.deepEqual(asked, ["a vm-of-a", "b vm-of-b"]);
    void hold("b");
    assert.equal(wakes.held(), 5);
    assert.equal((await hold("b")).kind, "refused");
    assert.deepEqual(told, ["full", "full", "full"]);
  });

  it("wait no longer than they may, and the next one asks again", async () => {
    const { wakes, put, hold, told, asked } = open({ holdLimitMs: 20 });
    put("demo", "asleep");
    assert.deepEqual(await hold("demo"), { kind: "refused", retryAfterS: 5 });
    await turn();
    assert.equal(wakes.held(), 0);
    assert.ok(told.includes("demo unknown"), String(told));
    void hold("demo");
    assert.equal(asked.length, 2);
  });

  it("ask a vm that is away again, and go on when it is back", async () => {
    const { put, hold, answer, asked } = open();
    put("demo", "asleep");
    const held = hold("demo");
    await answer("demo", { kind: "unknown", reason: "UNAVAILABLE" });
    while (asked.length < 2) await turn();
    put("demo", "awake");
    assert.deepEqual(await held, { kind: "awake" });
  });

  it("leave no trace when their client has gone, and the wake goes on", async () => {
    const { wakes, put, hold, told } = open();
    put("demo", "asleep");
    const left = new AbortController();
    const leaving = hold("demo", left.signal);
    const staying = hold("demo");
    left.abort();
    await leaving;
    assert.equal(wakes.held(), 1);
    put("demo", "awake");
    assert.deepEqual(await staying, { kind: "awake" });
    assert.deepEqual(told.toSorted(), ["awake", "left"]);
  });
});
