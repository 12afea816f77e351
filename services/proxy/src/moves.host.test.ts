import { afterEach, beforeEach, describe, it } from "node:test";
import {
  aReusedAddressAnswersForItsNewTenantAlone,
  aTenantThatMovedIsAnswered,
  moveAddresses,
} from "./testing/moves.ts";
import { findCaddy } from "./testing/programs.ts";
import { plainGuests } from "./testing/scene.ts";
import { openServiceStage } from "./testing/stages.ts";

const caddy = await findCaddy();

describe("a tenant that moves or leaves, with real Caddy", { skip: "reason" in caddy && caddy.reason }, () => {
  let stage: Awaited<ReturnType<typeof openServiceStage>>;
  beforeEach(async () => {
    const plan = { guests: [], fixture: plainGuests, spareAddresses: moveAddresses };
    stage = await openServiceStage("path" in caddy ? caddy.path : "", plan);
  });
  afterEach(() => stage.scene.close());

  for (const probe of [aTenantThatMovedIsAnswered, aReusedAddressAnswersForItsNewTenantAlone]) {
    it(probe.name, () => probe(stage));
  }
});
