import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CaddySettings, caddyConfig } from "@lobsterd/proxy/caddy/caddy-config.ts";
import type { Json } from "@lobsterd/proxy/caddy/canonical-json.ts";
import { ask, keptAgent } from "@lobsterd/proxy/testing/https-client.ts";
import { hostOf } from "@lobsterd/proxy/testing/probes.ts";
import { defaultLimits, sceneSettings } from "@lobsterd/proxy/testing/scene.ts";
import { type BareStage, openBareStage } from "@lobsterd/proxy/testing/stages.ts";
import { median } from "../statistics.ts";

const guest = { name: "alpha", address: "10.201.0.1" };
const fixture = fileURLToPath(new URL("guests.fixture.ts", import.meta.url));
const requestsPerRound = 200;
const warmUpRequests = 20;

/** How Caddy reaches the guest. */
export const routes = ["TLS, pooled", "plain, pooled", "TLS, dialled anew", "plain, dialled anew"] as const;
export type Route = (typeof routes)[number];

export interface LatencyScene {
  /** Median milliseconds of a request over this route, one at a time on a kept connection to Caddy. */
  measure(route: Route): Promise<number>;
  close(): Promise<void>;
}

export async function openLatencyScene(caddyPath: string): Promise<LatencyScene> {
  const stage = await openBareStage(caddyPath, { guests: [guest], fixture }, { [guest.name]: guest.address });
  writeFileSync(join(stage.paths.namesDirectory, guest.name), "");
  const settings = sceneSettings(stage.paths, defaultLimits);
  return {
    async measure(route) {
      await stage.configure(configurationOf(route, settings));
      return await medianOfRequests(stage);
    },
    close: () => stage.scene.close(),
  };
}

function configurationOf(route: Route, settings: CaddySettings): Json {
  let text = JSON.stringify(caddyConfig(settings));
  const replace = (pattern: RegExp, replacement: string): void => {
    const edited = text.replace(pattern, replacement);
    if (edited === text) throw new Error(`${pattern} is not in the configuration`);
    text = edited;
  };
  if (route.startsWith("plain")) {
    replace(/,"tls":\{"root_ca_pem_files":[^}]*\}/g, "");
    replace(/guest\.internal:9000/g, "guest.internal:9001");
  }
  if (route.endsWith("anew")) replace(/"keep_alive":\{"enabled":true/g, '"keep_alive":{"enabled":false');
  return JSON.parse(text) as Json;
}

async function medianOfRequests({ front }: BareStage): Promise<number> {
  const agent = keptAgent();
  const times: number[] = [];
  for (let request = -warmUpRequests; request < requestsPerRound; request += 1) {
    const start = performance.now();
    const { status } = await ask(front, hostOf(guest.name), { agent });
    if (status !== 200) throw new Error(`status ${status}`);
    if (request >= 0) times.push(performance.now() - start);
  }
  agent.destroy();
  return median(times);
}
