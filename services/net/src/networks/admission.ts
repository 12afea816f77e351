import { fail } from "../errors.ts";
import { firstDeniedRule } from "../firewall/egress.ts";
import type { ConntrackFacts } from "../host/conntrack-facts.ts";
import type { NetworkRecord, NetworkStore } from "./network-store.ts";

/** HOST-05: entries that the host needs for itself, and head-room over the whole. */
const entriesOfHost = 16_384;
const headroom = 1.25;

export interface AdmissionLimits {
  /** Connections of a guest in one direction. */
  readonly connectionLimit: number;
  /** A freed slot's address is not handed on for so long. */
  readonly addressQuarantineMs: number;
}

/** Entries that the connection table must have room for with `networkCount` tenants: HOST-05's formula. */
export function conntrackNeed(networkCount: number, connectionLimit: number): number {
  return Math.ceil(headroom * (networkCount * 2 * connectionLimit + entriesOfHost));
}

/** Networks that a connection table of `max` entries is enough for. */
export function networksWithin(max: number, connectionLimit: number): number {
  return Math.max(0, Math.floor((max / headroom - entriesOfHost) / (2 * connectionLimit)));
}

/** Whether a slot's old address may still be in somebody's packets. A clock that was set back must not lock it away for ever. */
export function isQuarantined(freeTimeMs: number, nowMs: number, quarantineMs: number): boolean {
  return nowMs >= freeTimeMs && nowMs - freeTimeMs < quarantineMs;
}

/**
 * Throws if `network` must not be attached now: EGRESS_RANGE_DENIED, SLOT_QUARANTINED, CONNTRACK_TOO_SMALL. Changes nothing. Called
 * before the network is recorded.
 */
export function refuseAdmission(
  network: NetworkRecord,
  store: NetworkStore,
  conntrack: Pick<ConntrackFacts, "max">,
  limits: AdmissionLimits,
): void {
  refuseDeniedRule(network);
  const { vmId, slot, attachTimeMs } = network;
  const freed = store.freed(slot);
  // The same microVM had the address: nobody else's packets can be meant for it.
  if (freed !== undefined && freed.vmId !== vmId) {
    const { freeTimeMs } = freed;
    if (isQuarantined(freeTimeMs, attachTimeMs, limits.addressQuarantineMs)) {
      const leftMs = limits.addressQuarantineMs - (attachTimeMs - freeTimeMs);
      throw fail("SLOT_QUARANTINED", `the address of slot ${slot} was another microVM's; it is free in ${leftMs} ms`, {
        metadata: { slot: String(slot), retry_after_ms: String(leftMs) },
      });
    }
  }
  const needed = conntrackNeed(store.count() + 1, limits.connectionLimit);
  if (conntrack.max < needed) {
    throw fail("CONNTRACK_TOO_SMALL", `one network more needs nf_conntrack_max ${needed}; it is ${conntrack.max}`, {
      metadata: { conntrack_max: String(conntrack.max), conntrack_needed: String(needed) },
    });
  }
}

/** Throws EGRESS_RANGE_DENIED if a rule could never match. */
export function refuseDeniedRule({ egress }: Pick<NetworkRecord, "egress">): void {
  const index = firstDeniedRule(egress);
  if (index === undefined || egress.mode !== "list") return;
  throw fail("EGRESS_RANGE_DENIED", `no policy opens ${egress.rules[index]?.cidr}`, {
    metadata: { field: `egress.rules[${index}].cidr` },
  });
}
