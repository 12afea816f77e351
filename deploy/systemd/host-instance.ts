import { readFileSync } from "node:fs";
import { z } from "zod";
import { describeInstance, hostInstanceName, type Instance } from "../dev/instance.ts";

/** What `make install` puts on a host, and where. */
export const applicationRoot = "/opt/lobsterd";
/** Link to the release that processes start from; an upgrade is one rename of it. */
export const currentRelease = `${applicationRoot}/current`;
export const configDir = "/etc/lobsterd";

/**
 * Where guests are: below a slice of their own, in the cgroup of a unit that systemd delegates. systemd delegates services and
 * scopes and no slices, so the slice holds one service that has no process of its own.
 */
export const guestsSlice = "lobsterd-guests.slice";
export const guestsUnit = "lobsterd-guests.service";
export const guestsCgroup = `lobsterd.slice/${guestsSlice}/${guestsUnit}`;

/** The names and paths of a host's one stack, which the development runner's stacks have too, with the places that last. */
export function describeHost(domain: string, slotCount: number): Instance {
  return {
    ...describeInstance(hostInstanceName, currentRelease),
    domain,
    slotCount,
    appDir: currentRelease,
    configDir,
    cgroup: guestsCgroup,
  };
}

/** The host that `configure` has described, by the configuration of `vm`. Throws if it has not. */
export function configuredHost(): Instance {
  const schema = z.object({ trustDomain: z.string(), slotCount: z.number() });
  const { trustDomain, slotCount } = schema.parse(JSON.parse(readFileSync(`${configDir}/vm.json`, "utf8")));
  return describeHost(trustDomain, slotCount);
}
