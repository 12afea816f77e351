import assert from "node:assert/strict";
import { openSync } from "node:fs";
import { describe, it } from "node:test";
import { type Libc, LibcFailed } from "./libc.ts";
import { decodeMessages, encodeMessage, MalformedMessage, type Message } from "./message.ts";
import { flags, NetlinkRefused, type NetlinkSocket, NetlinkUnanswered, openNetlink, type Request } from "./socket.ts";

const get: Request = { type: 16, flags: 0, payload: Buffer.alloc(4) };
const interrupted = 0x10;

/** A kernel whose answer to what was sent is a list of datagrams, or failures of recv. */
function kernel(answer: (sent: readonly Message[]) => readonly (Buffer | LibcFailed)[]): NetlinkSocket {
  let waiting: (Buffer | LibcFailed)[] = [];
  const libc: Libc = {
    // A real descriptor, since the socket closes it.
    socket: () => openSync("/dev/null", "r"),
    connect: () => undefined,
    setsockopt: () => undefined,
    setns: () => assert.fail("no namespace was asked for"),
    send(_, datagram) {
      waiting = [...answer(decodeMessages(datagram))];
    },
    recv(_, into) {
      const next = waiting.shift();
      if (next instanceof LibcFailed) throw next;
      next?.copy(into);
      return next?.length;
    },
  };
  return openNetlink(libc, 12);
}

function reply(to: Message | undefined, type: number, payload = Buffer.alloc(4), replyFlags = 0): Buffer {
  return encodeMessage({ type, flags: replyFlags, sequence: to?.sequence ?? 0, payload });
}

function result(to: Message | undefined, errno = 0, rest = Buffer.alloc(16), replyFlags = 0x100): Buffer {
  const code = Buffer.alloc(4);
  code.writeInt32LE(-errno);
  return reply(to, 2, Buffer.concat([code, rest]), replyFlags);
}

const done = (to: Message | undefined): Buffer => reply(to, 3);

describe("a netlink socket", () => {
  it("gives the replies to a request, and asks for an acknowledgement", () => {
    using socket = kernel(([sent]) => {
      assert.equal(sent?.flags, flags.request | flags.ack);
      return [reply(sent, 20, Buffer.from("0102", "hex")), result(sent)];
    });
    assert.deepEqual(socket.request(get), [{ type: 20, payload: Buffer.from("0102", "hex") }]);
  });

  it("throws what the kernel says against a request", () => {
    // NLMSGERR_ATTR_MSG after the quoted header
    const words = Buffer.concat([Buffer.alloc(16), Buffer.from("0c000100", "hex"), Buffer.from("too big\0")]);
    using socket = kernel(([sent]) => [result(sent, 22, words, 0x300)]);
    assert.throws(
      () => socket.request(get),
      (error) => error instanceof NetlinkRefused && error.code === "EINVAL" && error.reason === "too big",
    );
  });

  it("goes on after a refusal", () => {
    let refuse = true;
    using socket = kernel(([sent]) => [result(sent, refuse ? 1 : 0)]);
    assert.throws(() => socket.request(get), NetlinkRefused);
    refuse = false;
    assert.deepEqual(socket.request(get), []);
  });

  it("reads a dump of several datagrams", () => {
    using socket = kernel(([sent]) => [reply(sent, 20), Buffer.concat([reply(sent, 20), reply(sent, 20)]), done(sent)]);
    assert.equal(socket.dump(get).length, 3);
  });

  it("repeats a dump that was interrupted, but not for ever", () => {
    let dumps = 0;
    using socket = kernel(([sent]) => {
      dumps += 1;
      return [reply(sent, 20, undefined, dumps < 3 ? interrupted : 0), done(sent)];
    });
    assert.equal(socket.dump(get).length, 1);
    assert.equal(dumps, 3);
    using restless = kernel(([sent]) => [reply(sent, 20, undefined, interrupted), done(sent)]);
    assert.throws(() => restless.dump(get), NetlinkUnanswered);
  });

  it("throws the error that a dump ends with", () => {
    const code = Buffer.alloc(4);
    code.writeInt32LE(-2);
    using socket = kernel(([sent]) => [reply(sent, 20), reply(sent, 3, code)]);
    assert.throws(() => socket.dump(get), NetlinkRefused);
  });

  it("tells the requests of a pipeline apart", () => {
    using socket = kernel(([first, second, third]) => [
      reply(first, 20),
      result(first),
      result(second, 2),
      result(third),
    ]);
    const [first, second, third] = socket.pipeline([get, get, get]);
    assert.deepEqual(first, [{ type: 20, payload: Buffer.alloc(4) }]);
    assert.ok(second instanceof NetlinkRefused && second.code === "ENOENT");
    assert.deepEqual(third, []);
  });

  it("sends a long pipeline in parts", () => {
    const sizes: number[] = [];
    using socket = kernel((sent) => {
      sizes.push(sent.length);
      return sent.map((message) => result(message));
    });
    assert.equal(socket.pipeline(new Array(600).fill(get)).length, 600);
    assert.deepEqual(sizes, [256, 256, 88]);
  });

  it("throws the first refusal of a batch, with its place", () => {
    using socket = kernel(([, second, third]) => [result(second, 2), result(third)]);
    assert.throws(
      () => socket.batch([get, get, { ...get, flags: flags.ack }]),
      (error) => error instanceof NetlinkRefused && error.index === 1,
    );
  });

  it("ignores answers to nothing that was asked", () => {
    using socket = kernel(([sent]) => [result(undefined, 1), reply(undefined, 20), result(sent)]);
    assert.deepEqual(socket.request(get), []);
  });
});

describe("an answer that cannot be", () => {
  const cut = encodeMessage({ type: 2, flags: 0, sequence: 1, payload: Buffer.alloc(20) }).subarray(0, 30);
  const answers: readonly {
    what: string;
    answer: (sent: Message | undefined) => readonly (Buffer | LibcFailed)[];
    error: new (...parameters: never[]) => Error;
  }[] = [
    { what: "is none at all", answer: () => [], error: NetlinkUnanswered },
    { what: "has no acknowledgement", answer: (sent) => [reply(sent, 20)], error: NetlinkUnanswered },
    { what: "was lost", answer: () => [new LibcFailed("recv", 105)], error: NetlinkUnanswered },
    { what: "ran over", answer: (sent) => [reply(sent, 4)], error: NetlinkUnanswered },
    { what: "is cut off", answer: () => [cut], error: MalformedMessage },
    { what: "has no result", answer: (sent) => [reply(sent, 2, Buffer.alloc(2))], error: MalformedMessage },
    {
      what: "quotes more than there is",
      answer: (sent) => [result(sent, 22, Buffer.from("ffffff7f".padEnd(32, "0"), "hex"), 0x200)],
      error: MalformedMessage,
    },
    {
      what: "has words outside of it",
      answer: (sent) => [result(sent, 22, Buffer.concat([Buffer.alloc(16), Buffer.from("ff000100", "hex")]), 0x300)],
      error: MalformedMessage,
    },
  ];
  for (const { what, answer, error } of answers) {
    it(`${what} closes the socket`, () => {
      using socket = kernel(([sent]) => answer(sent));
      assert.throws(() => socket.request(get), error);
      assert.throws(() => socket.request(get), /is closed/);
    });
  }

  it("never ends is given up", () => {
    using socket = kernel(([sent]) => new Array<Buffer>(4096).fill(reply(sent, 20, Buffer.alloc(32 * 1024))));
    assert.throws(() => socket.dump(get), /bytes of answer|no end within/);
  });
});
