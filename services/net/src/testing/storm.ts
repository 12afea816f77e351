import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { netlinkElementStore } from "../firewall/netlink-element-store.ts";
import { tenantSets } from "../firewall/tenant-elements.ts";
import { mountedNamespaces } from "../host/namespace.ts";
import { keepSocket } from "../netlink/kept-socket.ts";
import { loadLibc } from "../netlink/libc.ts";
import { protocols } from "../netlink/socket.ts";
import type { NetworkStack } from "../network-stack.ts";
import { conntrackNeed, refuseDeniedRule } from "../networks/admission.ts";
import type { Egress, Limits } from "../networks/policy.ts";
import { linkPrefix, namespacePath, planSlot, slotOfName } from "../slots/address-plan.ts";
import { listLinkedSlots } from "../slots/link-listing.ts";
import { type Random, randomFrom } from "./churn.ts";
import { type Actor, type Ground, makeGround, testConnectionLimit, usual } from "./ground.ts";
import { type Call, faultsOf, type Host, heldAfter, type Request, type Sight, type Window } from "./storm-history.ts";

const parallel = 50;
/** More microVMs than slots, so that slots are contended for, and fewer networks than slots fit into the connection table. */
const vmCount = 80;
const slotCount = 40;
const capacity = 36;
const port = 7001;
const sightIntervalMs = 50;

const policies: readonly Egress[] = [
  { mode: "internet" },
  { mode: "internet" },
  { mode: "none" },
  { mode: "list", rules: [{ cidr: "45.0.0.0/24", port: 443, protocol: "tcp" }] },
  { mode: "list", rules: [{ cidr: "1.1.1.0/24", port: undefined, protocol: undefined }] },
  { mode: "list", rules: [{ cidr: "10.0.0.0/8", port: undefined, protocol: undefined }] },
];
const limits: readonly Limits[] = [usual.limits, usual.limits, { ...usual.limits, sentKbits: 2000, sentPackets: 50 }];

const host: Host = { slotCount, capacity, isDenied };

/**
 * 50 callers attach, change and detach networks at once for `durationMs`, while the reconciler runs and somebody sends to every address.
 * Checks every answer, what the kernel lets through meanwhile, and that nothing is left over. Returns how many calls were answered.
 */
export async function storm(durationMs: number): Promise<number> {
  const ground = await makeGround();
  const ended = new AbortController();
  let stack: NetworkStack | undefined;
  try {
    const conntrack = { max: conntrackNeed(capacity, testConnectionLimit), count: 0, buckets: 0 };
    stack = await ground.openStack(
      { slotCount, slotReadyTimeoutMs: 60_000 },
      { conntrack: () => ({ ...conntrack, establishedTimeoutSeconds: 3600 }) },
    );
    await stack.pool.fill(ended.signal);
    stack.keep({ reconcileIntervalMs: 1000, signal: ended.signal });
    const calls: Call[] = [];
    const sights: Sight[] = [];
    const clock = createClock();
    let blowing = true;
    const isOver = (): boolean => !blowing;
    const background = [watch(ground, clock, sights, isOver), flood(await ground.actor("host"), isOver)];
    await blow(stack, clock, calls, performance.now() + durationMs);
    blowing = false;
    await Promise.all(background);

    const faults = faultsOf(calls, sights, host);
    assert.deepEqual(faults.slice(0, 10), [], `${faults.length} faults in ${calls.length} calls`);
    await assertAsHeld(ground, stack, calls);
    await assertNothingLeft(ground, stack);
    return calls.length;
  } finally {
    ended.abort();
    // What is still being made could not be removed.
    if (stack !== undefined) await made(stack);
    await ground.remove();
  }
}

type Clock = <T>(work: () => Promise<T>) => Promise<{ result: T; window: Window }>;

/** Numbers beginnings and ends in the order in which they come. */
function createClock(): Clock {
  let now = 0;
  return async (work) => {
    const from = ++now;
    const result = await work();
    return { result, window: { from, until: ++now } };
  };
}

async function blow(stack: NetworkStack, clock: Clock, calls: Call[], untilMs: number): Promise<void> {
  const random = randomFrom(20_261_126);
  const idle = Array.from({ length: vmCount }, (_, index) => index.toString(16).padStart(32, "0"));
  const caller = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      const [vmId] = idle.splice(random(idle.length), 1);
      if (vmId === undefined) throw new Error("more callers than microVMs");
      const request = randomRequest(random, stack.store.find(vmId) !== undefined);
      const { result: answer, window } = await clock(() => ask(stack, vmId, request));
      calls.push({ vmId, request, window, answer });
      idle.push(vmId);
    }
  };
  await Promise.all(Array.from({ length: parallel }, caller));
}

/** Mostly what makes sense, so that the networks come and go. */
function randomRequest(random: Random, hasNetwork: boolean): Request {
  const egress = policies[random(policies.length)] ?? usual.egress;
  const kind = random(10);
  if (hasNetwork ? kind < 6 : kind < 1) return { kind: "detach" };
  if (hasNetwork ? kind < 8 : kind < 2) return { kind: "update", egress };
  const slot = random(slotCount + 1);
  return { kind: "attach", slot, egress, limits: limits[random(limits.length)] ?? usual.limits };
}

async function ask({ networks, store }: NetworkStack, vmId: string, request: Request): Promise<string> {
  try {
    if (request.kind === "detach") await networks.detach(vmId);
    else if (request.kind === "update") await networks.updateEgress(vmId, request.egress);
    else {
      const { slot, egress, limits } = request;
      const before = store.find(vmId);
      const network = await networks.attach({ vmId, slot, egress, limits });
      const expected = before ?? { vmId, slot, egress, limits, attachTimeMs: network.attachTimeMs };
      assert.deepEqual(network, expected);
    }
    return "done";
  } catch (error) {
    return reasonOf(error) ?? String(error);
  }
}

/** Looks at what the kernel lets in, again and again. */
async function watch(ground: Ground, clock: Clock, sights: Sight[], isOver: () => boolean): Promise<void> {
  using netfilter = keepSocket(loadLibc(), protocols.netfilter, ground.path("host"));
  const elements = netlinkElementStore(netfilter);
  while (!isOver()) {
    const { result, window } = await clock(() => elements.list("reachable"));
    const slots = result.map(({ key }) => slotOfName(linkPrefix, String(key[0]?.value)));
    assert.equal(new Set(slots).size, slots.length, "one address for each slot");
    sights.push({ slots: new Set(slots.filter((slot) => slot !== undefined)), window });
    await delay(sightIntervalMs);
  }
}

/** Makes connections be tracked to whoever is let through. */
async function flood(actor: Actor, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    for (let slot = 0; slot < slotCount; slot += 1) await actor.send(planSlot(slot).guestAddress, port, 1);
  }
}

async function assertAsHeld(ground: Ground, stack: NetworkStack, calls: readonly Call[]): Promise<void> {
  const stored = stack.store.all().map(({ vmId, slot, egress, limits }) => ({ vmId, slot, egress, limits }));
  assert.deepEqual(stored, heldAfter(calls));
  // Rules are read back for a part of the slots in each run.
  for (let run = 0; run < 3; run += 1) assert.deepEqual(await stack.reconcile(), []);
  assert.deepEqual(ground.published, [], "the reconciler found nothing to repair all along");
  assert.notEqual(await trackedConnections(ground), "");
}

async function assertNothingLeft(ground: Ground, stack: NetworkStack): Promise<void> {
  await Promise.all(stack.store.all().map(({ vmId }) => stack.networks.detach(vmId)));
  assert.equal(await trackedConnections(ground), "");
  await made(stack);
  assert.deepEqual(stack.store.all(), []);
  assert.deepEqual(await stack.reconcile(), []);
  const all = Array.from({ length: slotCount }, (_, slot) => slot);
  const ascending = (slots: Iterable<number>): number[] => [...slots].sort((a, b) => a - b);
  assert.deepEqual(ascending(stack.pool.warm().keys()), all);
  assert.deepEqual(ascending(await listLinkedSlots(ground.host)), all);
  const bound = [...(await mountedNamespaces())].filter((path) => path.startsWith(`${ground.netnsDir}/`));
  assert.deepEqual(bound.sort(), all.map((slot) => namespacePath(ground.netnsDir, slot)).sort());
  using netfilter = keepSocket(loadLibc(), protocols.netfilter, ground.path("host"));
  const elements = netlinkElementStore(netfilter);
  for (const set of tenantSets) assert.deepEqual(await elements.list(set), [], set);
}

async function made({ store }: NetworkStack): Promise<void> {
  const isMade = async (): Promise<true | undefined> => (store.retired().length === 0 ? true : undefined);
  await waitFor("all slots to be made anew", isMade, { timeoutMs: 60_000, intervalMs: 50 });
}

/** Those from or to any guest. */
async function trackedConnections(ground: Ground): Promise<string> {
  const listed = await ground.host.run(["conntrack", "-L"]);
  return listed
    .split("\n")
    .filter((line) => line.includes("=10.201."))
    .join("\n");
}

function isDenied(egress: Egress): boolean {
  try {
    refuseDeniedRule({ egress });
    return false;
  } catch {
    return true;
  }
}
