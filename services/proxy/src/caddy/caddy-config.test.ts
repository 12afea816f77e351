import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { parseConfig } from "@lobsterd/chassis/config.ts";
import { z } from "zod";
import { configSchema } from "../config.ts";
import { extraHostPattern, hostPattern, tenantPattern } from "../tenant-name.ts";
import { type CaddySettings, caddyConfig } from "./caddy-config.ts";
import type { Json } from "./canonical-json.ts";

const settings: CaddySettings = {
  domain: "tenants.example",
  adminSocketPath: "/run/x/caddy-admin/admin.sock",
  httpsListen: [":443", "unix//run/x/caddy/https.sock"],
  redirectListen: [":80"],
  publicHttpsPort: 443,
  certificates: { kind: "files", pairs: [{ certificatePath: "/etc/x/web.pem", keyPath: "/etc/x/web-key.pem" }] },
  guestCaPath: "/etc/x/guest-ca.pem",
  clientCertificatePath: "/etc/x/client.pem",
  clientKeyPath: "/etc/x/client-key.pem",
  namesDirectory: "/run/x/proxy-names",
  wakeSocketPath: "/run/x/proxy-names/.wake.sock",
  resolverPort: 5053,
  guestPort: 9000,
  limits: parseConfig(z.object({ limits: configSchema.shape.caddy.shape.limits }), "{}").limits,
};

/** Every key of a document with its value, at any depth. */
function* entries(node: Json): Generator<[string, Json]> {
  if (Array.isArray(node)) for (const item of node) yield* entries(item);
  else if (typeof node === "object" && node !== null) {
    for (const [key, value] of Object.entries(node)) {
      yield [key, value];
      yield* entries(value);
    }
  }
}

function valuesOf(config: Json, key: string): Json[] {
  return [...entries(config)].filter(([name]) => name === key).map(([, value]) => value);
}

describe("caddyConfig", () => {
  it("is the document in caddy-config.golden.json", () => {
    const golden: unknown = JSON.parse(readFileSync(new URL("caddy-config.golden.json", import.meta.url), "utf8"));
    assert.deepEqual(caddyConfig(settings), golden);
  });

  it("is a function of its settings alone", () => {
    assert.deepEqual(caddyConfig(settings), caddyConfig({ ...settings }));
  });

  it("carries the admin block, on the Unix socket, with nothing remote and nothing kept on disk", () => {
    const { admin } = caddyConfig(settings) as { admin: Json };
    assert.deepEqual(admin, { listen: "unix//run/x/caddy-admin/admin.sock", config: { persist: false } });
  });

  it("verifies guests by the dialled name with the guest CA and nothing else", () => {
    const config = caddyConfig(settings);
    for (const roots of valuesOf(config, "root_ca_pem_files")) assert.deepEqual(roots, ["/etc/x/guest-ca.pem"]);
    for (const key of ["insecure_skip_verify", "server_name", "root_ca_pool", "except_ports"]) {
      assert.deepEqual(valuesOf(config, key), [], key);
    }
    const dialled = new Set(valuesOf(config, "dial"));
    // And `proxy`, by a socket of its own.
    const wake = "unix//run/x/proxy-names/.wake.sock";
    assert.deepEqual(dialled, new Set(["{http.regexp.tenant.1}.guest.internal:9000", wake]));
  });

  it("names no tenant: the only host pattern is the domain's", () => {
    const config = caddyConfig(settings);
    const patterns = new Set(valuesOf(config, "pattern"));
    const ofFiles = `^/?(${tenantPattern})$`;
    assert.deepEqual(
      patterns,
      new Set(["^(?i:websocket)$", hostPattern("tenants.example"), extraHostPattern, ofFiles]),
    );
    assert.deepEqual(valuesOf(config, "host"), []);
  });

  it("puts a public port that is not 443 into redirects", () => {
    const location = (port: number): Json | undefined =>
      valuesOf(caddyConfig({ ...settings, publicHttpsPort: port }), "Location")[0];
    assert.deepEqual(location(443), ["https://{http.request.host}{http.request.uri}"]);
    assert.deepEqual(location(8443), ["https://{http.request.host}:8443{http.request.uri}"]);
  });

  it("holds a request for less time than its body has to be read", () => {
    const { limits } = configSchema.shape.caddy.shape;
    assert.equal(limits.safeParse({ holdLimitMs: 60_000, readTimeoutMs: 60_000 }).success, false);
    assert.equal(limits.safeParse({ holdLimitMs: 59_999, readTimeoutMs: 60_000 }).success, true);
  });
});
