import { after, before, describe, it } from "node:test";
import { caddyConfig } from "./caddy/caddy-config.ts";
import { findCaddy } from "./testing/programs.ts";
import { defaultLimits, sceneSettings } from "./testing/scene.ts";
import { type BareStage, openBareStage } from "./testing/stages.ts";
import { unknownNamesReachNobody } from "./testing/unknown-names.ts";

const caddy = await findCaddy();

describe("names that nobody published", { skip: "reason" in caddy && caddy.reason }, () => {
  let stage: BareStage;
  before(async () => {
    stage = await openBareStage("path" in caddy ? caddy.path : "");
    await stage.configure(caddyConfig(sceneSettings(stage.paths, defaultLimits)));
  });
  after(() => stage.scene.close());

  it("cost a lookup of a file: no question to the resolver, no connection to a guest", () =>
    unknownNamesReachNobody(stage));
});
