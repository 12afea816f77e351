/** Highest number of slots that `10.201.0.0/16` has room for, two addresses each. */
export const maxSlotCount = 32_768;

const outerBase = ipv4(10, 201, 0, 0);

/** Every slot's two outer addresses are in it, and nobody else's. */
export const outerRange = "10.201.0.0/16";

/** Inside of every slot, identical so that a memory image can be restored into any of them. */
export const inner = {
  tap: "tap0",
  uplink: "uplink0",
  guestAddress: "10.77.0.2",
  gatewayAddress: "10.77.0.1",
  prefixLength: 30,
  guestMac: "06:00:0a:4d:00:02",
  gatewayMac: "06:00:0a:4d:00:01",
} as const;

/** Interfaces, namespaces and tables of these names are ours; nothing else is ever changed. */
export const linkPrefix = "lob-";
export const namespacePrefix = "slot-";
export const tableName = "lobsterd";

/** Everything on the host that belongs to one slot. */
export interface SlotPlan {
  readonly slot: number;
  /** Name of the link on the host; its peer in the namespace is `inner.uplink`. */
  readonly hostInterface: string;
  readonly hostAddress: string;
  readonly hostMac: string;
  /** Where the host reaches the guest: the address of the namespace's end, translated to `inner.guestAddress` there. */
  readonly guestAddress: string;
  /** Hardware address that the host sees the guest's packets come from. */
  readonly slotMac: string;
}

/** The plan of `slot`, 0 to `maxSlotCount - 1`. Throws `RangeError` outside. */
export function planSlot(slot: number): SlotPlan {
  if (!Number.isInteger(slot) || slot < 0 || slot >= maxSlotCount) throw new RangeError(`no slot ${slot}`);
  const host = outerBase + 2 * slot;
  return {
    slot,
    hostInterface: `${linkPrefix}${slot}`,
    hostAddress: dotted(host),
    hostMac: macOf(host),
    guestAddress: dotted(host + 1),
    slotMac: macOf(host + 1),
  };
}

/** The slot of a link's or namespace's name; `undefined` if the name is not ours. A number that is too large is still ours. */
export function slotOfName(prefix: string, name: string): number | undefined {
  if (!name.startsWith(prefix)) return undefined;
  const digits = name.slice(prefix.length);
  return /^(0|[1-9][0-9]{0,8})$/.test(digits) ? Number(digits) : undefined;
}

/** Path of a slot's namespace file. */
export function namespacePath(netnsDir: string, slot: number): string {
  return `${netnsDir}/${namespacePrefix}${slot}`;
}

function ipv4(a: number, b: number, c: number, d: number): number {
  return ((a * 256 + b) * 256 + c) * 256 + d;
}

function octets(address: number): [number, number, number, number] {
  return [(address >>> 24) & 255, (address >>> 16) & 255, (address >>> 8) & 255, address & 255];
}

function dotted(address: number): string {
  return octets(address).join(".");
}

// Locally administered, unicast, and derived from the address, so that a hardware address never moves between slots.
function macOf(address: number): string {
  return ["06", "00", ...octets(address).map((octet) => octet.toString(16).padStart(2, "0"))].join(":");
}
