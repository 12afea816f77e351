import { z } from "zod";
import { linkPrefix } from "../slots/address-plan.ts";
import type { ProcessRunner } from "./process.ts";

const links = z.array(z.object({ ifname: z.string(), addr_info: z.array(z.object({ local: z.string().optional() })) }));

/** The IPv4 addresses of the runner's namespace, without those of slots; ascending by text, each once. */
export async function listHostAddresses(runner: ProcessRunner): Promise<string[]> {
  const text = await runner.run(["ip", "-json", "-4", "address", "show"]);
  const listed = links.parse(text.trim() === "" ? [] : JSON.parse(text));
  const addresses = listed
    .filter(({ ifname }) => !ifname.startsWith(linkPrefix))
    .flatMap(({ addr_info }) => addr_info.flatMap(({ local }) => (local === undefined ? [] : [local])));
  return [...new Set(addresses)].sort();
}
