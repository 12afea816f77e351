import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { configSchema } from "../config.ts";
import { certificateApps, certificateSelection, type FrontCertificates, isOnDemand } from "./front-certificates.ts";

const schema = configSchema.shape.caddy.shape.certificates;
const domain = "tenants.example";
const pair = { certificatePath: "/etc/x/web.pem", keyPath: "/etc/x/web-key.pem" };
const acme = { kind: "acme", directoryUrl: "https://acme.example/directory", email: "operator@platform.example" };
const asked = { ask: "http://127.0.0.1:5054/", rate_limit: { interval: "1m", burst: 60 } };

describe("certificates of the front", () => {
  it("from files are those files, and no other certificate is chosen", () => {
    const files = schema.parse({ kind: "files", pairs: [pair] });
    assert.deepEqual(certificateApps(files, domain), {
      tls: {
        certificates: { load_files: [{ certificate: pair.certificatePath, key: pair.keyPath, tags: ["front"] }] },
      },
    });
    assert.deepEqual(certificateSelection(files), { certificate_selection: { any_tag: ["front"] } });
    assert.equal(isOnDemand(files), false);
  });

  it("from Caddy's own authority are one for the domain, and one for each other name that is published", () => {
    const internal = schema.parse({ kind: "internal" });
    const issuers = [{ module: "internal" }];
    assert.deepEqual(certificateApps(internal, domain), {
      tls: {
        certificates: { automate: [domain, `*.${domain}`] },
        automation: {
          policies: [
            { subjects: [domain, `*.${domain}`], issuers },
            { issuers, on_demand: true },
          ],
          on_demand: asked,
        },
      },
      pki: { certificate_authorities: { local: { install_trust: false } } },
    });
    assert.deepEqual(certificateSelection(internal), {});
  });

  it("by ACME are one for each name that is published, from that authority alone", () => {
    const policiesOf = (certificates: FrontCertificates) => certificateApps(certificates, domain).tls;
    const issuer = { module: "acme", ca: acme.directoryUrl, email: acme.email };
    assert.deepEqual(policiesOf(schema.parse(acme)), {
      automation: { policies: [{ issuers: [issuer], on_demand: true }], on_demand: asked },
    });
    assert.deepEqual(policiesOf(schema.parse({ ...acme, trustedRootPath: "/etc/x/root.pem" })), {
      automation: {
        policies: [{ issuers: [{ ...issuer, trusted_roots_pem_files: ["/etc/x/root.pem"] }], on_demand: true }],
        on_demand: asked,
      },
    });
  });

  for (const [what, wrong] of Object.entries({
    "no kind": {},
    "an unknown kind": { kind: "zerossl" },
    "no files": { kind: "files", pairs: [] },
    "a key without a certificate": { kind: "files", pairs: [{ keyPath: pair.keyPath }] },
    "too many files": { kind: "files", pairs: Array.from({ length: 65 }, () => pair) },
    "a relative path": { kind: "files", pairs: [{ ...pair, keyPath: "web-key.pem" }] },
    "an authority without TLS": { ...acme, directoryUrl: "http://acme.example/directory" },
    "nobody to write to": { kind: "acme", directoryUrl: acme.directoryUrl },
    "keys of another kind": { kind: "internal", pairs: [pair] },
  })) {
    it(`are refused with ${what}`, () => {
      assert.equal(schema.safeParse(wrong).success, false);
    });
  }
});
