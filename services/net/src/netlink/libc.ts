import { createRequire } from "node:module";
import { constants, endianness } from "node:os";
import type * as Koffi from "koffi";

const messageDontWait = 0x40;
const messageTruncate = 0x20;

const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** `ENOENT` for 2; a number the platform has no name for stays a number. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

/** A call into libc that failed. */
export class LibcFailed extends Error {
  override readonly name = "LibcFailed";
  readonly call: string;
  /** `EPERM`, as errno.h names it. */
  readonly code: string;

  constructor(call: string, errno: number) {
    super(`${call}: ${errnoName(errno)}`);
    this.call = call;
    this.code = errnoName(errno);
  }
}

/** This process cannot call libc at all, so whoever wanted netlink has to spawn programs instead. */
export class LibcUnavailable extends Error {
  override readonly name = "LibcUnavailable";
}

/** The calls that Node has no binding for. Every one is synchronous, and throws `LibcFailed` unless said otherwise. */
export interface Libc {
  /** A descriptor. */
  socket(domain: number, type: number, protocol: number): number;
  connect(descriptor: number, address: Buffer): void;
  setsockopt(descriptor: number, level: number, option: number, value: Buffer): void;
  /** Sends one datagram, whole. */
  send(descriptor: number, datagram: Buffer): void;
  /**
   * Receives one datagram into `into` without waiting: its length, which is more than `into` holds if it was cut, or
   * `undefined` if none is there.
   */
  recv(descriptor: number, into: Buffer): number | undefined;
  /** Moves the calling thread, and nothing else of the process, into a namespace. `kind`: its CLONE_NEW flag. */
  setns(descriptor: number, kind: number): void;
}

let loaded: Libc | undefined;

/** Throws `LibcUnavailable`, always with the reason. The first call costs a few milliseconds. */
export function loadLibc(): Libc {
  loaded ??= bindLibc(requireKoffi());
  return loaded;
}

function requireKoffi(): typeof Koffi {
  // Structures of netlink are in the byte order of the host, and are written here in that of x86-64 and arm64.
  if (endianness() !== "LE") throw new LibcUnavailable("netlink is built for little-endian hosts");
  try {
    return createRequire(import.meta.url)("koffi");
  } catch (error) {
    throw new LibcUnavailable("the FFI package koffi has no binary for this platform", { cause: error });
  }
}

function bindLibc(koffi: typeof Koffi): Libc {
  let calls: ReturnType<typeof declareCalls>;
  try {
    calls = declareCalls(koffi);
  } catch (error) {
    throw new LibcUnavailable("libc lacks a call that netlink needs", { cause: error });
  }
  // errno is read right after the call, before anything that could make another one.
  const checked = (call: string, result: number): number => {
    if (result < 0) throw new LibcFailed(call, koffi.errno());
    return result;
  };
  return {
    socket: (domain, type, protocol) => checked("socket", calls.socket(domain, type, protocol)),
    connect(descriptor, address) {
      checked("connect", calls.connect(descriptor, address, address.length));
    },
    setsockopt(descriptor, level, option, value) {
      checked("setsockopt", calls.setsockopt(descriptor, level, option, value, value.length));
    },
    send(descriptor, datagram) {
      const sent = checked("send", calls.send(descriptor, datagram, datagram.length, messageDontWait));
      if (sent !== datagram.length) throw new LibcFailed("send", constants.errno.EMSGSIZE);
    },
    recv(descriptor, into) {
      const received = calls.recv(descriptor, into, into.length, messageDontWait | messageTruncate);
      if (received >= 0) return received;
      const errno = koffi.errno();
      if (errno === constants.errno.EAGAIN) return undefined;
      throw new LibcFailed("recv", errno);
    },
    setns(descriptor, kind) {
      checked("setns", calls.setns(descriptor, kind));
    },
  };
}

function declareCalls(koffi: typeof Koffi) {
  // The C library that Node itself runs on, whatever its file is called.
  const library = koffi.load(null);
  return {
    socket: library.func("int socket(int, int, int)"),
    connect: library.func("int connect(int, const void *, uint32_t)"),
    setsockopt: library.func("int setsockopt(int, int, int, const void *, uint32_t)"),
    send: library.func("intptr_t send(int, const void *, size_t, int)"),
    recv: library.func("intptr_t recv(int, void *, size_t, int)"),
    setns: library.func("int setns(int, int)"),
  };
}
