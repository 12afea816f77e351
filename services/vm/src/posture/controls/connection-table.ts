import { type ConntrackNumbers, type Control, type Finding, failed, judged, pass, worst } from "../control.ts";

/** Connections of one guest in each direction, and what the host needs for itself: the defaults that `net` admits by. */
const outboundLimit = 1024;
const inboundLimit = 1024;
const hostEntries = 16_384;
const headroom = 1.25;
const maxEstablishedSeconds = 3600;

/** Entries that the table must have for `slotCount` tenants at their limits: 276,480 for 100. */
export function connectionTableNeed(slotCount: number): number {
  return Math.ceil(headroom * (slotCount * outboundLimit + slotCount * inboundLimit + hostEntries));
}

/** One tenant at its limits leaves every other one able to connect. */
export const connectionsFit: Control = {
  id: "HOST-05",
  required: true,
  requirement:
    "nf_conntrack_max is enough for every slot at its limits, with as many buckets, and established connections expire in 3600 s",
  remedy: "set the values of deploy/host/sysctl.d for this many slots, or lower slotCount",
  check: async ({ conntrack, slotCount }) => judged(conntrack, (numbers) => judgeTable(numbers, slotCount)),
};

function judgeTable(numbers: ConntrackNumbers, slotCount: number): Finding {
  const { max, buckets, establishedTimeoutSeconds, need = connectionTableNeed(slotCount) } = numbers;
  return worst([
    max >= need
      ? pass(`max ${max}, ${need} needed for ${slotCount} slots`)
      : failed(`max ${max}, but ${need} needed for ${slotCount} slots`),
    // Each entry is hashed twice: with half as many buckets as the kernel advises chains are two long, which it bears.
    buckets >= max ? pass(`${buckets} buckets`) : failed(`${buckets} buckets, fewer than max`),
    establishedTimeoutSeconds <= maxEstablishedSeconds
      ? pass(`established ${establishedTimeoutSeconds} s`)
      : failed(`established ${establishedTimeoutSeconds} s`),
  ]);
}
