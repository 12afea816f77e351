import { afterHeader, attributesByType } from "./message.ts";
import { families, nfgen, nfgenBytes } from "./nfnetlink.ts";
import {
  decodeElements,
  type ElementName,
  encodeElements,
  encodeSetName,
  type HeldElement,
  type ListedElement,
  type SetElement,
} from "./nft-element.ts";
import { closedRanges } from "./nft-interval.ts";
import { decodeKeyTypes, type KeyType, keyText } from "./nft-key.ts";
import {
  flags,
  isRefusal,
  NetlinkRefused,
  type NetlinkSocket,
  NetlinkUnanswered,
  type Reply,
  type Request,
} from "./socket.ts";
import { readBig32 } from "./values.ts";

/**
 * - `add`: present afterwards. One that is there already stays as it is, whatever its limit.
 * - `replace`: present afterwards, new, with this limit.
 * - `delete`: absent afterwards; it need not have been there.
 */
export type ElementChange =
  | { readonly kind: "add"; readonly element: SetElement }
  | { readonly kind: "replace"; readonly element: SetElement }
  | { readonly kind: "delete"; readonly element: ElementName };

/** The ruleset's generation: every committed transaction makes it one higher, whoever commits. */
export type Generation = number;

const subsystem = 10;
const batchBegin = 0x10;
const batchEnd = 0x11;
const getSet = (subsystem << 8) | 10;
const newElement = (subsystem << 8) | 12;
const getElement = (subsystem << 8) | 13;
const deleteElement = (subsystem << 8) | 14;
const getGeneration = (subsystem << 8) | 16;
const tableName = "lobsterd";
const setFlagBits = 3;
const setKeyType = 4;
const intervalFlag = 0x4;
const generationId = 1;
/** What one datagram has room for. */
const maxChanges = 100_000;

/**
 * Makes changes to sets of table `inet lobsterd` in one transaction, in this order. Either all of them are in force when
 * this returns, or it throws `NetlinkRefused` and nothing has changed; its `index` is the refused change's. `ENOENT`:
 * no such table or set; `ENFILE`: a set is full, which counts an absent element to be deleted too; `EEXIST`: a range
 * overlaps another one.
 */
export function changeElements(socket: NetlinkSocket, changes: readonly ElementChange[]): void {
  if (changes.length === 0) return;
  if (changes.length > maxChanges) throw new RangeError(`${changes.length} changes in one transaction`);
  const origins: number[] = [];
  const requests = runsOf(changes).flatMap(({ index, run }) => {
    const steps = requestsOf(run);
    origins.push(...steps.map(() => index));
    return steps;
  });
  const last = requests.at(-1);
  // The last message's acknowledgement comes after the commit; those of the others would only fill the queue.
  if (last !== undefined) requests[requests.length - 1] = { ...last, flags: last.flags | flags.ack };
  try {
    socket.batch([
      { type: batchBegin, flags: 0, payload: nfgen(0, subsystem) },
      ...requests,
      { type: batchEnd, flags: 0, payload: nfgen(0, subsystem) },
    ]);
  } catch (error) {
    if (!(error instanceof NetlinkRefused)) throw error;
    const origin = origins[(error.index ?? 0) - 1];
    const change = origin === undefined ? undefined : changes[origin];
    throw new NetlinkRefused(error.errno, describe(change, error.reason), origin);
  }
}

/** The elements of a set of table `inet lobsterd`, in no order. Throws `NetlinkRefused` with `ENOENT` without table or set. */
export function readElements(socket: NetlinkSocket, set: string): ListedElement[] {
  const { types, isInterval } = readSet(socket, set);
  const replies = socket.dump({ type: getElement, flags: 0, payload: withHeader(encodeSetName(tableName, set)) });
  const held = replies.flatMap((reply) => elementsOf(reply, types));
  return isInterval ? closedRanges(held) : held.map(withoutFlag);
}

/**
 * The element of exactly this key and range; `undefined` if it is absent. Throws as `readElements` does. Not for sets with
 * `flags interval` and one field.
 */
export function readElement(socket: NetlinkSocket, name: ElementName): ListedElement | undefined {
  return readElementsByName(socket, [name])[0];
}

/** The same for many elements, of any sets, in the order given. They are read one after the other, not at one moment. */
export function readElementsByName(
  socket: NetlinkSocket,
  names: readonly ElementName[],
): (ListedElement | undefined)[] {
  const requests = names.map(({ set, key, keyEnd }) => ({
    type: getElement,
    flags: 0,
    payload: withHeader(encodeElements(tableName, [{ set, key, ...(keyEnd === undefined ? {} : { keyEnd }) }])),
  }));
  const results = socket.pipeline(requests);
  return names.map((name, index) => elementIn(socket, name, results[index]));
}

/** Reads the generation of the ruleset, to find out cheaply whether anybody has changed anything. */
export function readGeneration(socket: NetlinkSocket): Generation {
  const [reply] = socket.request({ type: getGeneration, flags: 0, payload: nfgen(0) });
  if (reply === undefined) throw new NetlinkUnanswered("no generation");
  return readBig32(attributesByType(afterHeader(reply.payload, nfgenBytes)).get(generationId));
}

function elementIn(
  socket: NetlinkSocket,
  name: ElementName,
  result: Reply[] | NetlinkRefused | undefined,
): ListedElement | undefined {
  if (result instanceof NetlinkRefused || result === undefined) {
    if (!isRefusal(result, "ENOENT")) throw result ?? new NetlinkUnanswered("no element");
    // The same code stands for an absent element, set and table.
    readSet(socket, name.set);
    return undefined;
  }
  const wanted = keyText(name.key, name.keyEnd);
  const types = name.key.map(({ type }) => type);
  // In a set of ranges the kernel answers with the range that holds the key.
  const found = result
    .flatMap((reply) => elementsOf(reply, types))
    .find(({ key, keyEnd }) => keyText(key, keyEnd) === wanted);
  return found === undefined ? undefined : withoutFlag(found);
}

interface SetDescription {
  readonly types: readonly KeyType[];
  readonly isInterval: boolean;
}

function readSet(socket: NetlinkSocket, set: string): SetDescription {
  const [reply] = socket.request({ type: getSet, flags: 0, payload: withHeader(encodeSetName(tableName, set)) });
  if (reply === undefined) throw new NetlinkUnanswered(`no description of set ${set}`);
  const attributes = attributesByType(afterHeader(reply.payload, nfgenBytes));
  const setFlags = attributes.get(setFlagBits);
  return {
    types: decodeKeyTypes(readBig32(attributes.get(setKeyType))),
    isInterval: setFlags !== undefined && (readBig32(setFlags) & intervalFlag) !== 0,
  };
}

function withoutFlag({ isIntervalEnd: _, ...element }: HeldElement): ListedElement {
  return element;
}

function elementsOf({ payload }: Reply, types: readonly KeyType[]): HeldElement[] {
  return decodeElements(afterHeader(payload, nfgenBytes), types);
}

/** Most elements of one message: its list is an attribute, which has 64 KiB. */
const maxRun = 256;

interface Run {
  /** Of its first change. */
  readonly index: number;
  readonly run: ElementChange[];
}

/**
 * Changes that are told in the same messages: deletions from one set, one behind the other, which are many at each attachment. An element twice
 * has a run each time, since it can be deleted once in each; so has each range, which others must not meet for the moment that it is there.
 */
function runsOf(changes: readonly ElementChange[]): Run[] {
  const runs: Run[] = [];
  const inRun = new Set<string>();
  for (const [index, change] of changes.entries()) {
    const { set, key, keyEnd } = change.element;
    const last = runs.at(-1)?.run;
    const isMore =
      change.kind === "delete" &&
      keyEnd === undefined &&
      last?.[0]?.kind === "delete" &&
      last[0].element.set === set &&
      last[0].element.keyEnd === undefined &&
      last.length < maxRun &&
      !inRun.has(keyText(key));
    if (isMore) last.push(change);
    else {
      inRun.clear();
      runs.push({ index, run: [change] });
    }
    inRun.add(keyText(key));
  }
  return runs;
}

function requestsOf(run: readonly ElementChange[]): Request[] {
  const add = (elements: readonly SetElement[]): Request => elementRequest(newElement, flags.create, elements);
  const elements = run.map(({ element }) => element);
  const [first] = run;
  if (first?.kind === "add") return [add(elements)];
  const names = elements.map(({ set, key, keyEnd }) => ({ set, key, ...(keyEnd === undefined ? {} : { keyEnd }) }));
  // Deleting what is absent would fail the whole transaction. Adding it first, which no packet ever sees, makes that safe.
  const absent = [add(names), elementRequest(deleteElement, 0, names)];
  return first?.kind === "replace" ? [...absent, add(elements)] : absent;
}

function elementRequest(type: number, requestFlags: number, elements: readonly SetElement[]): Request {
  return { type, flags: requestFlags, payload: withHeader(encodeElements(tableName, elements)) };
}

function describe(change: ElementChange | undefined, reason: string | undefined): string | undefined {
  if (change === undefined) return reason;
  const { set, key, keyEnd } = change.element;
  const what = `${change.kind} ${set} { ${keyText(key, keyEnd)} }`;
  return reason === undefined ? what : `${what}: ${reason}`;
}

function withHeader(attributes: Buffer): Buffer {
  return Buffer.concat([nfgen(families.inet), attributes]);
}
