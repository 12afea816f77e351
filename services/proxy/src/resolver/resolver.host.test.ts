import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { describe, it } from "node:test";
import { captureLogs } from "@lobsterd/chassis/testing.ts";
import { startResolver } from "./resolver.ts";

describe("resolver on loopback", () => {
  it("answers while others send garbage, and forgets a name at once", async () => {
    const published = new Map([["demo", "10.201.0.1"]]);
    const resolver = await startResolver(0, (tenant) => published.get(tenant), captureLogs().logger);
    const noise = createSocket("udp4");
    const client = new Resolver({ timeout: 2000, tries: 3 });
    client.setServers([`127.0.0.1:${resolver.port}`]);
    try {
      for (let size = 0; size < 400; size += 1) noise.send(randomBytes((size * 37) % 1400), resolver.port, "127.0.0.1");
      assert.deepEqual(await client.resolve4("demo.guest.internal", { ttl: true }), [
        { address: "10.201.0.1", ttl: 0 },
      ]);
      await assert.rejects(client.resolve4("nobody.guest.internal"), { code: "ENOTFOUND" });
      await assert.rejects(client.resolve6("demo.guest.internal"), { code: "ENODATA" });
      await assert.rejects(client.resolve4("demo.example.com"), { code: "EREFUSED" });
      published.delete("demo");
      await assert.rejects(client.resolve4("demo.guest.internal"), { code: "ENOTFOUND" });
    } finally {
      noise.close();
      await resolver.close();
    }
  });

  it("says so when its port is taken", async () => {
    const { logger } = captureLogs();
    const resolver = await startResolver(0, () => undefined, logger);
    await assert.rejects(
      startResolver(resolver.port, () => undefined, logger),
      { code: "EADDRINUSE" },
    );
    await resolver.close();
  });
});
