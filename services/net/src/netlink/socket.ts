import { closeSync } from "node:fs";
import { errnoName, type Libc } from "./libc.ts";
import { attributesByType, decodeMessages, encodeMessage, MalformedMessage, messageHeaderBytes } from "./message.ts";
import { withinNamespace } from "./namespace.ts";
import { native32, readText } from "./values.ts";

export const protocols = { route: 0, sockDiag: 4, netfilter: 12 } as const;

/** nlmsghdr.nlmsg_flags */
export const flags = {
  request: 0x1,
  ack: 0x4,
  echo: 0x8,
  dump: 0x300,
  replace: 0x100,
  excl: 0x200,
  create: 0x400,
} as const;

const replyInterrupted = 0x10;
const ackIsCapped = 0x100;
const ackHasAttributes = 0x200;
const typeError = 2;
const typeDone = 3;
const typeOverrun = 4;
const ackMessageAttribute = 1;

const family = 16;
const rawCloseOnExec = 3 | 0x80000;
const levelSocket = 1;
const levelNetlink = 270;
const forcedSendBuffer = 32;
const forcedReceiveBuffer = 33;
const sendBuffer = 7;
const receiveBuffer = 8;
const capAck = 10;
const extendedAck = 11;

/** A batch is one datagram and has to fit; so have the answers to a pipeline, all of which wait before the first is read. */
const sendBufferBytes = 32 * 1024 * 1024;
const receiveBufferBytes = 4 * 1024 * 1024;
/** The kernel never makes a part of a dump larger than 32 KiB. */
const datagramBytes = 64 * 1024;
const maxAnswerBytes = 64 * 1024 * 1024;
const maxExchangeMs = 5000;
const maxDumps = 8;
const maxPipelined = 256;

export interface Request {
  readonly type: number;
  /** Besides `flags.request`. */
  readonly flags: number;
  readonly payload: Buffer;
}

export interface Reply {
  readonly type: number;
  readonly payload: Buffer;
}

/** The kernel refused a request. */
export class NetlinkRefused extends Error {
  override readonly name = "NetlinkRefused";
  readonly errno: number;
  /** `ENOENT`, as errno.h names it. */
  readonly code: string;
  /** The kernel's own words, where it has any. */
  readonly reason: string | undefined;
  /** Place of the refused message in its batch. */
  readonly index: number | undefined;

  constructor(errno: number, reason?: string, index?: number) {
    super(`netlink: ${errnoName(errno)}${reason === undefined ? "" : `: ${reason}`}`);
    this.errno = errno;
    this.code = errnoName(errno);
    this.reason = reason;
    this.index = index;
  }
}

/** The kernel's answer is missing or incomplete, or too large: what it did with the request is not known. */
export class NetlinkUnanswered extends Error {
  override readonly name = "NetlinkUnanswered";
}

/**
 * A socket to the kernel. The kernel does what a request says before `send` returns, so every call here is synchronous,
 * and costs what the kernel takes for it. Throws `NetlinkRefused`; `LibcFailed` if the request was not even sent; otherwise
 * `NetlinkUnanswered` or `MalformedMessage`. After any but the first the socket is closed.
 */
export interface NetlinkSocket extends Disposable {
  readonly isOpen: boolean;
  /** One request that changes something or reads one thing: its replies. */
  request(request: Request): Reply[];
  /** Many requests, each on its own: its replies, or why it was refused. */
  pipeline(requests: readonly Request[]): (Reply[] | NetlinkRefused)[];
  /** Everything that matches, as it was at one moment; repeated a few times if it changes meanwhile. */
  dump(request: Request): Reply[];
  /** Messages of one datagram, at least one with `flags.ack`. Throws if any is refused. */
  batch(requests: readonly Request[]): void;
  close(): void;
}

/**
 * `namespacePath`: file of the network namespace that the socket acts in, and which it holds in being; without it, this
 * process's own. Sockets of `protocols.netfilter` are worth keeping: closing one waits until the kernel has
 * freed whatever was deleted from any ruleset, some 15 ms.
 */
export function openNetlink(libc: Libc, protocol: number, namespacePath?: string): NetlinkSocket {
  const open = (): number => openDescriptor(libc, protocol);
  return createSocket(libc, namespacePath === undefined ? open() : withinNamespace(libc, namespacePath, open));
}

function openDescriptor(libc: Libc, protocol: number): number {
  const descriptor = libc.socket(family, rawCloseOnExec, protocol);
  try {
    const on = native32(1);
    libc.setsockopt(descriptor, levelNetlink, extendedAck, on);
    // A refusal then quotes only the header of what it refuses.
    libc.setsockopt(descriptor, levelNetlink, capAck, on);
    resize(libc, descriptor, forcedSendBuffer, sendBuffer, sendBufferBytes);
    resize(libc, descriptor, forcedReceiveBuffer, receiveBuffer, receiveBufferBytes);
    // Once connected to port 0, no process can put words into the kernel's mouth.
    const kernel = Buffer.alloc(12);
    kernel.writeUInt16LE(family);
    libc.connect(descriptor, kernel);
    return descriptor;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

// Only a capability in the first user namespace may go above the host's limit; elsewhere that limit has to do.
function resize(libc: Libc, descriptor: number, forced: number, limited: number, bytes: number): void {
  try {
    libc.setsockopt(descriptor, levelSocket, forced, native32(bytes));
  } catch {
    libc.setsockopt(descriptor, levelSocket, limited, native32(bytes));
  }
}

interface Answer {
  readonly replies: Reply[];
  settled: boolean;
  interrupted: boolean;
  refusal: NetlinkRefused | undefined;
}

function createSocket(libc: Libc, descriptor: number): NetlinkSocket {
  const into = Buffer.alloc(datagramBytes);
  let sequence = 0;
  let open = true;

  function close(): void {
    if (open) closeSync(descriptor);
    open = false;
  }

  function exchange(requests: readonly Request[]): Answer[] {
    if (!open) throw new NetlinkUnanswered("the netlink socket is closed");
    const first = sequence + 1;
    sequence += requests.length;
    const messages = requests.map((request, index) =>
      encodeMessage({ ...request, flags: request.flags | flags.request, sequence: first + index }),
    );
    const answers = requests.map(
      (): Answer => ({ replies: [], settled: false, interrupted: false, refusal: undefined }),
    );
    try {
      libc.send(descriptor, Buffer.concat(messages));
      receive((at) => answers[at - first]);
    } catch (error) {
      // What is still under way would be taken for the answer to the next request.
      close();
      throw error;
    }
    return answers;
  }

  // Until nothing is left: an empty queue means that the kernel is done, whatever it answered.
  function receive(answerTo: (sequence: number) => Answer | undefined): void {
    const deadline = performance.now() + maxExchangeMs;
    let total = 0;
    for (let length = receiveOne(); length !== undefined; length = receiveOne()) {
      total += length;
      if (length > into.length) throw new NetlinkUnanswered(`a datagram of ${length} bytes`);
      if (total > maxAnswerBytes) throw new NetlinkUnanswered(`more than ${maxAnswerBytes} bytes of answer`);
      if (performance.now() > deadline) throw new NetlinkUnanswered(`no end within ${maxExchangeMs} ms`);
      const messages = decodeMessages(Buffer.from(into.subarray(0, length)));
      for (const message of messages) {
        const answer = answerTo(message.sequence);
        if (answer !== undefined) record(answer, message);
      }
    }
  }

  function receiveOne(): number | undefined {
    try {
      return libc.recv(descriptor, into);
    } catch (error) {
      // ENOBUFS: there were more answers than room for them.
      throw new NetlinkUnanswered("answers of the kernel were lost", { cause: error });
    }
  }

  function one(request: Request): Answer {
    const [answer] = exchange([request]);
    if (answer?.refusal !== undefined) throw answer.refusal;
    if (answer?.settled !== true) throw unsettled(close);
    return answer;
  }

  function pipeline(requests: readonly Request[]): (Reply[] | NetlinkRefused)[] {
    const results: (Reply[] | NetlinkRefused)[] = [];
    for (let at = 0; at < requests.length; at += maxPipelined) {
      const part = requests.slice(at, at + maxPipelined).map((one) => ({ ...one, flags: one.flags | flags.ack }));
      for (const { settled, refusal, replies } of exchange(part)) {
        if (!settled) throw unsettled(close);
        results.push(refusal ?? replies);
      }
    }
    return results;
  }

  return {
    get isOpen() {
      return open;
    },
    request: (request) => one({ ...request, flags: request.flags | flags.ack }).replies,
    pipeline,
    dump(request) {
      for (let dumps = 0; dumps < maxDumps; dumps += 1) {
        const { interrupted, replies } = one({ ...request, flags: request.flags | flags.dump });
        if (!interrupted) return replies;
      }
      throw new NetlinkUnanswered(`what was read changed during each of ${maxDumps} reads`);
    },
    batch(requests) {
      const answers = exchange(requests);
      const refused = answers.findIndex(({ refusal }) => refusal !== undefined);
      const refusal = answers[refused]?.refusal;
      if (refusal !== undefined) throw new NetlinkRefused(refusal.errno, refusal.reason, refused);
      const wanting = requests.some(({ flags: wanted }, at) => wanted & flags.ack && !answers[at]?.settled);
      if (wanting) throw unsettled(close);
    },
    close,
    [Symbol.dispose]: close,
  };
}

function unsettled(close: () => void): NetlinkUnanswered {
  close();
  return new NetlinkUnanswered("the kernel did not answer");
}

function record(answer: Answer, { type, flags: replyFlags, payload }: Reply & { flags: number }): void {
  if (replyFlags & replyInterrupted && type !== typeError) answer.interrupted = true;
  if (type === typeOverrun) throw new NetlinkUnanswered("the kernel ran over");
  if (type !== typeError && type !== typeDone) {
    answer.replies.push({ type, payload });
    return;
  }
  answer.settled = true;
  if (payload.length < 4) {
    // A dump may end without saying how it went.
    if (type === typeDone) return;
    throw new MalformedMessage("an answer without its result");
  }
  const errno = -payload.readInt32LE();
  if (errno > 0) answer.refusal ??= new NetlinkRefused(errno, reasonOf(type, replyFlags, payload));
}

// struct nlmsgerr: the result, the refused message's header, the rest of that message unless capped, attributes.
function reasonOf(type: number, replyFlags: number, payload: Buffer): string | undefined {
  if (!(replyFlags & ackHasAttributes)) return undefined;
  let start = 4;
  if (type === typeError) {
    if (payload.length < 4 + messageHeaderBytes) throw new MalformedMessage("a refusal ends inside its header");
    const quoted = replyFlags & ackIsCapped ? messageHeaderBytes : payload.readUInt32LE(4);
    start += (quoted + 3) & ~3;
  }
  if (start > payload.length) throw new MalformedMessage("a refusal quotes more than there is");
  const message = attributesByType(payload.subarray(start)).get(ackMessageAttribute);
  return message === undefined ? undefined : readText(message);
}

/** Whether `error` is the kernel's refusal with one of these codes. */
export function isRefusal(error: unknown, ...codes: readonly string[]): error is NetlinkRefused {
  return error instanceof NetlinkRefused && codes.includes(error.code);
}
