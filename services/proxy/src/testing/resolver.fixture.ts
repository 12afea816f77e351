/** The resolver alone, for a scene without the service: `node resolver.fixture.ts <port> <tenant>=<address>…`. */

import { createLogger } from "@lobsterd/chassis/logger.ts";
import { startResolver } from "../resolver/resolver.ts";

const [port, ...pairs] = process.argv.slice(2);
const addresses = new Map(pairs.map((pair) => [pair.split("=")[0] ?? "", pair.split("=")[1] ?? ""]));
await startResolver(Number(port), (tenant) => addresses.get(tenant), createLogger({ service: "proxy" }));
process.stdout.write("listening\n");
