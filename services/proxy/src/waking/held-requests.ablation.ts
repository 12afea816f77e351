/** Takes one piece of what holds a request in Caddy away and shows the probe that goes red. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { caddyConfig } from "../caddy/caddy-config.ts";
import type { Json } from "../caddy/canonical-json.ts";
import { openNameFiles } from "../directory/name-files.ts";
import { findCaddy } from "../testing/programs.ts";
import { defaultLimits, sceneSettings } from "../testing/scene.ts";
import { type BareStage, openBareStage } from "../testing/stages.ts";
import { aSleeperIsAskedFor, nothingOfARequestReachesProxy } from "../testing/wake-socket-probes.ts";

type Probe = (stage: BareStage) => Promise<void>;
const pieces: readonly (readonly [what: string, probe: Probe, pattern: RegExp, replacement: string])[] = [
  ["the look for a sleeper's file", aSleeperIsAskedFor, /\.asleep/g, ".nobody"],
  ["the order: asked before it is dialled", aSleeperIsAskedFor, /"status_code":\[204\]/g, '"status_code":[204,503]'],
  [
    "the query that is taken away",
    nothingOfARequestReachesProxy,
    /"uri":"\/\{http\.regexp\.tenant\.1\}\?"/g,
    '"uri":"/{http.regexp.tenant.1}"',
  ],
  [
    "what is taken from the request",
    nothingOfARequestReachesProxy,
    /"headers":\{"request":\{"delete":\["\*\*"\]\}\},/g,
    "",
  ],
];

const caddy = await findCaddy();

describe("what holds a request in Caddy, taken away one by one", { skip: "reason" in caddy && caddy.reason }, () => {
  for (const [what, probe, pattern, replacement] of pieces) {
    describe(what, () => {
      let stage: BareStage;
      let whole: string;
      before(async () => {
        stage = await openBareStage("path" in caddy ? caddy.path : "");
        whole = JSON.stringify(caddyConfig(sceneSettings(stage.paths, defaultLimits)));
        await stage.configure(JSON.parse(whole) as Json);
        await stage.publish("alpha");
        openNameFiles(stage.paths.namesDirectory).markAsleep("alpha");
      });
      after(() => stage.scene.close());

      it("holds with it", () => probe(stage));
      it("does not hold without it", async () => {
        const without = whole.replace(pattern, replacement);
        assert.notEqual(without, whole, "the pattern is not in the configuration");
        await stage.configure(JSON.parse(without) as Json);
        await assert.rejects(probe(stage));
      });
    });
  }
});
