import { createHash, createHmac, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, lstatSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const keyBytes = 32;
const context = "lobsterd agent token v1";

/** The tokens with which one service calls guests' agents, each good for one generation of one microVM. */
export interface AgentTokens {
  /** 43 characters of base64url. */
  tokenFor(guestUri: string): string;
  /** SHA-256 of that token: all that the guest is ever given of it before it is called. */
  digestFor(guestUri: string): Uint8Array;
}

/**
 * Opens the key that this service derives its tokens from, which is made at the first start and never leaves the process. A token is no
 * more stored than sent ahead: it is derived again for each connection. Throws when the file at `keyPath` is not 32 bytes that only
 * this process's user can read.
 */
export function openAgentTokens(keyPath: string): AgentTokens {
  const key = readOrMakeKey(keyPath);
  const tokenFor = (guestUri: string) =>
    createHmac("sha256", key).update(`${context}\0${guestUri}`).digest("base64url");
  return { tokenFor, digestFor: (guestUri) => createHash("sha256").update(tokenFor(guestUri)).digest() };
}

function readOrMakeKey(path: string): Buffer {
  const state = lstatSync(path, { throwIfNoEntry: false });
  if (state === undefined) return makeKey(path);
  const isPrivate = state.isFile() && (state.mode & 0o077) === 0 && state.uid === process.geteuid?.();
  if (!isPrivate || state.size !== keyBytes)
    throw new Error(`${path} must be a file of ${keyBytes} bytes that only this process's user can read`);
  return readFileSync(path);
}

/** On disk before it is used: guests that know the digests of a lost key would refuse this service for as long as they run. */
function makeKey(path: string): Buffer {
  const key = randomBytes(keyBytes);
  const file = openSync(path, "wx", 0o600);
  try {
    writeSync(file, key);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  const directory = openSync(dirname(path), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
  return key;
}
