/** The resolver alone, for a scene without the service: `node resolver.fixture.ts <port> <tenant>=<address>…`. */

import { createLogger } from "@lobsterd/chassis/logger.ts";
import { startResolver } from "../resolver/resolver.ts";

const [port, ...pairs] = process.argv.slice(2);
const addresses = new Map(pairs.map((pair) => [pair.split("=")[0] ?? "", pair.split("=")[1] ?? ""]));
/** Tells the parent what was asked. */
function lookup(tenant: string): string | undefined {
  process.stdout.write(`asked ${tenant}\n`);
  return addresses.get(tenant);
}
await startResolver(Number(port), lookup, createLogger({ service: "proxy" }));
process.stdout.write("listening\n");
