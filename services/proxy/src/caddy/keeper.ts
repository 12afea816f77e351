/**
 * Keeps Caddy's running configuration equal to the desired one, whoever changes it and however often Caddy starts afresh.
 *
 *  1. The whole document is compared, admin block included, as canonical JSON.
 *  2. What differs is loaded again at once and read back; only a read-back counts as success.
 *  3. An admin API that was moved to TCP is found by its owner and brought back to the socket.
 *  4. Certificate files that were made anew are a part of the desired configuration, which differs by their stamp.
 *  5. Nothing that happens to Caddy ends this process: the next check tries again, for ever.
 */

import { stat } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { type AdminEndpoint, AdminRefused, AdminUnreachable, loadConfig, readConfig } from "./admin.ts";
import { canonicalJson, differingPaths, type Json } from "./canonical-json.ts";
import { findCaddyListeners } from "./listener-search.ts";

/** Why it was loaded: Caddy had none, certificate files are new, somebody changed it, or moved the admin API. */
export type LoadCause = "fresh" | "renewed" | "drift" | "moved";

/** What one check found. `paths` are JSON pointers of what differed. */
export type Verdict =
  | { readonly kind: "equal" }
  | { readonly kind: "loaded"; readonly cause: LoadCause; readonly paths: readonly string[] }
  | { readonly kind: "unreachable"; readonly message: string }
  | { readonly kind: "refused"; readonly message: string };

export interface Keeper {
  /** Compares now, whatever is due. Failures of Caddy are verdicts; anything else throws. */
  check(): Promise<Verdict>;
  /**
   * Checks if `intervalMs` has passed since the last check, a second since one that failed, or Caddy has a new socket;
   * `undefined` if nothing was due.
   */
  checkIfDue(intervalMs: number): Promise<Verdict | undefined>;
}

/** A configuration that Caddy refuses costs it a whole provisioning each time. */
const retryMs = 1000;
/** Where the stamp of the certificate files is. */
const stampPath = "/apps/http/@id";

/** Keeps what `desired` returns at the check. */
export function createKeeper(desired: () => Json, adminSocketPath: string): Keeper {
  const socket: AdminEndpoint = { socketPath: adminSocketPath };
  let last: { atMs: number; isGood: boolean; socketId: string | undefined } | undefined;

  async function check(): Promise<Verdict> {
    last = undefined;
    const verdict = await bringInLine(desired(), socket, adminSocketPath);
    const isGood = verdict.kind === "equal" || verdict.kind === "loaded";
    last = { atMs: performance.now(), isGood, socketId: await socketIdentity(adminSocketPath) };
    return verdict;
  }

  return {
    check,
    async checkIfDue(intervalMs) {
      const waitMs = last?.isGood === false ? Math.min(retryMs, intervalMs) : intervalMs;
      const isDue =
        last === undefined ||
        performance.now() - last.atMs >= waitMs ||
        last.socketId !== (await socketIdentity(adminSocketPath));
      return isDue ? await check() : undefined;
    },
  };
}

async function bringInLine(desired: Json, socket: AdminEndpoint, adminSocketPath: string): Promise<Verdict> {
  const wanted = canonicalJson(desired);
  try {
    const actual = await readConfig(socket);
    if (canonicalJson(actual) === wanted) return { kind: "equal" };
    return await load(desired, wanted, socket, socket, causeOf(desired, actual), actual);
  } catch (error) {
    if (error instanceof AdminRefused) return { kind: "refused", message: error.message };
    if (!(error instanceof AdminUnreachable)) throw error;
    return (
      (await bringBack(desired, wanted, socket, adminSocketPath)) ?? { kind: "unreachable", message: error.message }
    );
  }
}

/** Loads through whichever TCP listener of Caddy's user turns out to be an admin API; `undefined` if none is. */
async function bringBack(
  desired: Json,
  wanted: string,
  socket: AdminEndpoint,
  adminSocketPath: string,
): Promise<Verdict | undefined> {
  for (const endpoint of await findCaddyListeners(adminSocketPath)) {
    try {
      const actual = await readConfig(endpoint);
      return await load(desired, wanted, endpoint, socket, "moved", actual);
    } catch (error) {
      // The HTTPS port and the redirect port are among the listeners; they refuse or answer something that is no JSON.
      if (!(error instanceof AdminRefused || error instanceof AdminUnreachable || error instanceof SyntaxError))
        throw error;
    }
  }
  return undefined;
}

async function load(
  desired: Json,
  wanted: string,
  through: AdminEndpoint,
  socket: AdminEndpoint,
  cause: LoadCause,
  before: Json,
): Promise<Verdict> {
  await loadConfig(through, desired);
  const after = await readConfig(socket);
  if (canonicalJson(after) !== wanted) {
    throw new AdminRefused(
      200,
      `caddy runs another configuration than it accepted, at ${differingPaths(desired, after).join(" ")}`,
    );
  }
  return { kind: "loaded", cause, paths: differingPaths(desired, before) };
}

function causeOf(desired: Json, actual: Json): LoadCause {
  if (isFresh(actual)) return "fresh";
  return differingPaths(desired, actual).every((path) => path === stampPath) ? "renewed" : "drift";
}

/** Whether this is what Caddy is started with: nothing but an admin block. */
function isFresh(config: Json): boolean {
  return config === null || (typeof config === "object" && !Array.isArray(config) && !("apps" in config));
}

/** Changes whenever Caddy makes its socket anew, which it does at each start and not at a load. */
async function socketIdentity(path: string): Promise<string | undefined> {
  try {
    const { ino, ctimeNs } = await stat(path, { bigint: true });
    return `${ino}:${ctimeNs}`;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}
