/** Nobody kills the connections to a guest that fell silent, and nobody looks for a file: what turns red. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { aTenantThatMovedIsAnswered, moveAddresses } from "../testing/moves.ts";
import { findCaddy } from "../testing/programs.ts";
import { defaultLimits, plainGuests, sceneSettings } from "../testing/scene.ts";
import { openBareStage, openServiceStage } from "../testing/stages.ts";
import { unknownNamesReachNobody } from "../testing/unknown-names.ts";
import { caddyConfig } from "./caddy-config.ts";
import type { Json } from "./canonical-json.ts";

const caddy = await findCaddy();
const caddyPath = "path" in caddy ? caddy.path : "";

describe("without what cuts stale connections and unknown names", { skip: "reason" in caddy && caddy.reason }, () => {
  it("aTenantThatMovedIsAnswered turns red: the request waits at the old guest", async () => {
    const plan = { guests: [], fixture: plainGuests, spareAddresses: moveAddresses };
    const stage = await openServiceStage(caddyPath, plan);
    try {
      await assert.rejects(aTenantThatMovedIsAnswered(stage, async () => undefined));
    } finally {
      await stage.scene.close();
    }
  });

  it("unknownNamesReachNobody turns red: the resolver is asked for each", async () => {
    const stage = await openBareStage(caddyPath);
    try {
      const whole = JSON.stringify(caddyConfig(sceneSettings(stage.paths, defaultLimits)));
      const without = whole.replace(/"match":\[\{"file":.*?\]\}\}\],/, "");
      assert.notEqual(without, whole);
      await stage.configure(JSON.parse(without) as Json);
      await assert.rejects(unknownNamesReachNobody(stage));
    } finally {
      await stage.scene.close();
    }
  });
});
