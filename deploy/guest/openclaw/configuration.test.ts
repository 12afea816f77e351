import assert from "node:assert/strict";
import { test } from "node:test";
import { openClawConfiguration, platformSettings } from "./configuration.ts";

const guest = { tenant: "alice", vmId: "0".repeat(32), generation: 1 };

test("a first start has the platform's settings and nothing of the guest's name", () => {
  assert.deepEqual(openClawConfiguration(undefined, guest, 8080), platformSettings(8080));
});

test("what the gateway kept stays, what secrets set goes over it, and the platform's own part over both", () => {
  const kept = {
    agents: { list: [1] },
    channels: { telegram: { botToken: "old", enabled: true } },
    gateway: { bind: "lan" },
  };
  const file = { ...guest, channels: { telegram: { botToken: "new" } }, gateway: { auth: { mode: "none" } } };
  assert.deepEqual(openClawConfiguration(kept, file, 8080), {
    agents: { list: [1] },
    channels: { telegram: { botToken: "new", enabled: true } },
    ...platformSettings(8080),
  });
});

test("a kept file that is no object is started anew, and a configuration without a guest is refused", () => {
  for (const kept of [null, [], "text", 7])
    assert.deepEqual(openClawConfiguration(kept, guest, 1), platformSettings(1));
  assert.throws(() => openClawConfiguration({}, { channels: {} }, 1));
});
