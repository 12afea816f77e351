/** Takes one bound of held requests, or one piece of what holds them, away and shows what goes red. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type ControlTest, type Removal, requireNoticed } from "@lobsterd/chassis/testing-control-removal.ts";
import { caddyConfig } from "../caddy/caddy-config.ts";
import type { Json } from "../caddy/canonical-json.ts";
import { openNameFiles } from "../directory/name-files.ts";
import { findCaddy } from "../testing/programs.ts";
import { defaultLimits, sceneSettings } from "../testing/scene.ts";
import { type BareStage, openBareStage } from "../testing/stages.ts";
import { aSleeperIsAskedFor, nothingOfARequestReachesProxy } from "../testing/wake-socket-probes.ts";

const unit = "waking/wakes.test.ts";
const suite = "requests to sleeping tenants";
const wakes = "proxy/src/waking/wakes.ts";

const bounds: readonly (readonly [what: string, removal: Removal, test: string])[] = [
  [
    "one question for all that wait",
    { file: wakes, find: "if (known !== undefined) return known;", replace: "" },
    "ask once for a hundred, which go on as soon as the route is awake",
  ],
  [
    "requests of one tenant",
    { file: wakes, find: "|| question.waiting.size >= limits.maxHeldPerTenant", replace: "" },
    "are bounded for a tenant, in all, and in how many tenants are asked about",
  ],
  [
    "requests in all",
    { file: wakes, find: "if (held >= limits.maxHeld)", replace: "if (false)" },
    "are bounded for a tenant, in all, and in how many tenants are asked about",
  ],
  [
    "tenants asked about",
    { file: wakes, find: "if (questions.size >= limits.maxQuestions) return undefined;", replace: "" },
    "are bounded for a tenant, in all, and in how many tenants are asked about",
  ],
  [
    "a refusal that holds for its tenant",
    { file: wakes, find: "else refusals.set(tenant, refusal);", replace: "" },
    "are answered at once when the wake fails, and the tenant is not asked for again before the time that was told",
  ],
  [
    "a refusal that holds for the host",
    { file: wakes, find: 'if (verdict.scope === "host") hostRefusal = refusal;', replace: "if (false) return;" },
    "are refused for every tenant while the host is busy, with one question in all",
  ],
  [
    "the end of those that wait for a route that goes",
    {
      file: "proxy/src/waking/wakes.ts",
      find: 'route === undefined ? { kind: "gone" } : { kind: "awake" }',
      replace: '{ kind: "awake" }',
    },
    "are answered at once when the route goes",
  ],
];

describe("bounds of held requests, taken away one by one", () => {
  for (const [what, removal, name] of bounds) {
    const noticing: ControlTest = { service: "proxy", file: unit, name: `${suite} ${name}` };
    it(what, async () => {
      await requireNoticed([removal], noticing);
    });
  }
});

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
