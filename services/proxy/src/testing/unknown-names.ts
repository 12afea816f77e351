import assert from "node:assert/strict";
import { ask, keptAgent } from "./https-client.ts";
import { assertRefused, hostOf } from "./probes.ts";
import type { BareStage } from "./stages.ts";

const names = 200;

/** A probe of a stage whose resolver tells what it is asked; see `probes.ts`. */
export async function unknownNamesReachNobody({ front, publish, resolverOutput, scene }: BareStage): Promise<void> {
  const agent = keptAgent();
  try {
    for (let index = 0; index < names; index += 1) {
      const answer = await ask(front, hostOf(`nobody-${index}`));
      assertRefused(answer, 404, "NO_SUCH_TENANT");
    }
    await publish("alpha");
    assert.equal((await ask(front, hostOf("alpha"), { agent })).status, 200);
  } finally {
    agent.destroy();
  }
  const asked = new Set(resolverOutput().match(/(?<=asked )\S+/g));
  assert.deepEqual(asked, new Set(["alpha"]));
  const toGuests = await scene.runInside(
    "ss",
    "--no-header",
    "--tcp",
    "--numeric",
    "state",
    "established",
    "dport",
    "=",
    ":9000",
  );
  assert.ok(toGuests.trim().split("\n").length <= 1, toGuests);
}
