import { BlockList } from "node:net";
import { fail } from "../errors.ts";

/** Refuses an address outside the guests' network: secrets must not be sent to whatever a caller names. */
export type RefuseOutside = (address: string) => void;

/** `cidr` is IPv4, such as `10.201.0.0/16`. The check throws ADDRESS_NOT_A_GUEST. */
export function guestNetwork(cidr: string): RefuseOutside {
  const [network = "", prefix = ""] = cidr.split("/");
  const inside = new BlockList();
  inside.addSubnet(network, Number(prefix), "ipv4");
  return (address) => {
    if (inside.check(address, "ipv4")) return;
    throw fail("ADDRESS_NOT_A_GUEST", `guest_address is outside ${cidr}`, { metadata: { field: "guest_address" } });
  };
}
