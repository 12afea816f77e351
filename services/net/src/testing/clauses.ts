import { deniedRanges } from "../firewall/ranges.ts";
import { world } from "./ground.ts";
import { hostAddresses } from "./guest.ts";

/** Conditions of rules, word for word, for taking them away. */
export const notDenied = `ip daddr != { ${deniedRanges.join(", ")} }`;
/** In a slot, the host's own addresses too. */
export const notReachable = notDenied.replace(" }", `, ${hostAddresses.join(", ")} }`);
export const notForResolvers = "th dport != { 53, 853 }";
export const outside = `oifname "${world.uplink}"`;
export const admitted = "iifname . ether saddr . ip saddr @guests";
