import type { Egress, Limits } from "../networks/policy.ts";

/** A stretch of time by a counter: of a call, from its beginning to its answer. */
export interface Window {
  readonly from: number;
  readonly until: number;
}

export type Request =
  | { readonly kind: "attach"; readonly slot: number; readonly egress: Egress; readonly limits: Limits }
  | { readonly kind: "update"; readonly egress: Egress }
  | { readonly kind: "detach" };

/** One call and its answer. A microVM has one call under way at most, so only slots are contended for. */
export interface Call {
  readonly vmId: string;
  readonly request: Request;
  readonly window: Window;
  /** `done`, or why not: a reason of `errors.ts`, or anything else that came. */
  readonly answer: string;
}

/** The slots that the kernel let through at some moment of the window. */
export interface Sight {
  readonly slots: ReadonlySet<number>;
  readonly window: Window;
}

export interface Host {
  readonly slotCount: number;
  /** Networks that the connection table has room for. */
  readonly capacity: number;
  isDenied(egress: Egress): boolean;
}

/** A network from within `begun` to within `ended`; the two are windows since nobody outside sees the moment itself. */
interface Holding {
  readonly vmId: string;
  readonly slot: number;
  readonly limits: Limits;
  readonly egress: Egress;
  readonly begun: Window;
  readonly ended: Window;
}

export interface HeldNetwork {
  readonly vmId: string;
  readonly slot: number;
  readonly egress: Egress;
  readonly limits: Limits;
}

const never: Window = { from: Number.POSITIVE_INFINITY, until: Number.POSITIVE_INFINITY };

/**
 * What is wrong with a history of calls: answers that no order of what ran at the same time explains, slots that two
 * microVMs had at one moment, and slots that the kernel let through without a network or cut off with one.
 */
export function faultsOf(calls: readonly Call[], sights: readonly Sight[], host: Host): string[] {
  const holdings = holdingsOf(calls);
  const slots = Map.groupBy(holdings, ({ slot }) => slot);
  return [
    ...answerFaults(calls, holdings, host),
    ...[...slots.values()].flatMap(sharedSlotFaults),
    ...sights.flatMap((sight) => sightFaults(sight, holdings)),
  ];
}

/** The networks that are there when every call of the history has been answered, by slot. */
export function heldAfter(calls: readonly Call[]): HeldNetwork[] {
  return holdingsOf(calls)
    .filter(({ ended }) => ended === never)
    .map(({ vmId, slot, egress, limits }) => ({ vmId, slot, egress, limits }))
    .sort((a, b) => a.slot - b.slot);
}

function holdingsOf(calls: readonly Call[]): Holding[] {
  const closed: Holding[] = [];
  const open = new Map<string, Holding>();
  for (const { vmId, request, window, answer } of inOrder(calls)) {
    const current = open.get(vmId);
    if (answer !== "done") continue;
    if (request.kind === "attach" && current === undefined) {
      const { slot, egress, limits } = request;
      open.set(vmId, { vmId, slot, egress, limits, begun: window, ended: never });
    } else if (request.kind === "update" && current !== undefined) {
      open.set(vmId, { ...current, egress: request.egress });
    } else if (request.kind === "detach" && current !== undefined) {
      closed.push({ ...current, ended: window });
      open.delete(vmId);
    }
  }
  return [...closed, ...open.values()];
}

function answerFaults(calls: readonly Call[], holdings: readonly Holding[], host: Host): string[] {
  const current = new Map<string, number>();
  return inOrder(calls).flatMap((call) => {
    const { vmId, request, window, answer } = call;
    const right = rightAnswers(call, current.get(vmId), holdings, host);
    if (answer === "done" && request.kind === "attach") current.set(vmId, request.slot);
    if (answer === "done" && request.kind === "detach") current.delete(vmId);
    if (right.includes(answer)) return [];
    return [`${request.kind} of ${vmId} at ${window.from}: ${answer} in place of ${right.join(" or ")}`];
  });
}

/** `held`: the slot that the microVM has as the call begins, which nobody else can change. */
function rightAnswers(call: Call, held: number | undefined, holdings: readonly Holding[], host: Host): string[] {
  const { vmId, request, window } = call;
  if (request.kind === "detach") return ["done"];
  if (request.kind === "update") {
    if (held === undefined) return ["NETWORK_NOT_FOUND"];
    return [host.isDenied(request.egress) ? "EGRESS_RANGE_DENIED" : "done"];
  }
  if (request.slot >= host.slotCount) return ["SLOT_OUT_OF_RANGE"];
  if (held !== undefined) return [held === request.slot ? "done" : "VM_ATTACHED_ELSEWHERE"];
  const others = holdings.filter((holding) => holding.vmId !== vmId);
  const rivals = others.filter(({ slot }) => slot === request.slot);
  if (rivals.some((rival) => holdsThroughout(rival, window))) return ["SLOT_TAKEN"];
  const taken = rivals.some((rival) => mayHold(rival, window)) ? ["SLOT_TAKEN"] : [];
  if (host.isDenied(request.egress)) return [...taken, "EGRESS_RANGE_DENIED"];
  const mayBeFull = others.filter((other) => mayHold(other, window)).length >= host.capacity;
  const isFull = others.filter((other) => holdsThroughout(other, window)).length >= host.capacity;
  return [...taken, ...(mayBeFull ? ["CONNTRACK_TOO_SMALL"] : []), ...(isFull ? [] : ["done"])];
}

function sharedSlotFaults(holdings: readonly Holding[]): string[] {
  return holdings.flatMap((first, index) =>
    holdings
      .slice(index + 1)
      .filter((second) => Math.max(sureFrom(first), sureFrom(second)) < Math.min(sureUntil(first), sureUntil(second)))
      .map((second) => `slot ${first.slot} was ${first.vmId}'s and ${second.vmId}'s at once`),
  );
}

function sightFaults({ slots, window }: Sight, holdings: readonly Holding[]): string[] {
  const allowed = new Set(holdings.filter((one) => mayHold(one, window)).map(({ slot }) => slot));
  const wanted = holdings.filter((one) => holdsThroughout(one, window)).map(({ slot }) => slot);
  return [
    ...[...slots].filter((slot) => !allowed.has(slot)).map((slot) => `slot ${slot} was open at ${window.from}`),
    ...wanted.filter((slot) => !slots.has(slot)).map((slot) => `slot ${slot} was cut off at ${window.from}`),
  ];
}

const sureFrom = ({ begun }: Holding): number => begun.until;
const sureUntil = ({ ended }: Holding): number => ended.from;

function mayHold({ begun, ended }: Holding, { from, until }: Window): boolean {
  return begun.from <= until && ended.until >= from;
}

function holdsThroughout(holding: Holding, { from, until }: Window): boolean {
  return sureFrom(holding) <= from && sureUntil(holding) >= until;
}

function inOrder(calls: readonly Call[]): Call[] {
  return calls.toSorted((a, b) => a.window.from - b.window.from);
}
