import { after, before, describe, it } from "node:test";
import { findCaddy } from "./testing/programs.ts";
import { openServiceStage } from "./testing/stages.ts";
import * as probes from "./testing/wake-probes.ts";

const caddy = await findCaddy();

describe("a tenant that sleeps, with real Caddy", { skip: "reason" in caddy && caddy.reason }, () => {
  let stage: Awaited<ReturnType<typeof openServiceStage>>;
  before(async () => {
    stage = await openServiceStage("path" in caddy ? caddy.path : "");
  });
  after(() => stage.scene.close());

  for (const probe of [
    probes.aHundredRequestsAreOneWake,
    probes.aWebSocketWakesItsTenant,
    probes.anExtraHostNameWakesItsTenant,
    probes.aSleeperIsNotReachedOverPooledConnections,
    probes.aRefusedWakeIsToldWithItsTimeAndNotAskedAgain,
    probes.aTenantThatIsEvictedMeanwhileIsAnsweredAtOnce,
    probes.aWakeThatDoesNotEndIsAnswered,
  ]) {
    it(
      probe.name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`),
      () => probe(stage),
    );
  }
});
