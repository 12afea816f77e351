/**
 * Takes one control away at a time and shows which probe goes red without it: `node --test services/proxy/src/caddy/controls.ablation.ts`.
 * A row whose probe still passes is a control that nothing tests.
 */

import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import * as probes from "../testing/probes.ts";
import { findCaddy } from "../testing/programs.ts";
import * as requestProbes from "../testing/request-probes.ts";
import { defaultLimits, sceneSettings } from "../testing/scene.ts";
import { type BareStage, openBareStage } from "../testing/stages.ts";
import { loadConfig } from "./admin.ts";
import { caddyConfig } from "./caddy-config.ts";
import type { Json } from "./canonical-json.ts";
import type { FrontCertificates } from "./front-certificates.ts";

type Probe = (stage: BareStage) => Promise<void>;
type Ablation = {
  readonly control: string;
  readonly probe: Probe;
  /** Files by default. */
  readonly certificates?: FrontCertificates;
  /** Puts the stage into the state without the control. */
  readonly remove: (stage: BareStage, whole: Json) => Promise<void>;
};

const ablations: readonly Ablation[] = [
  byText(
    "client certificate",
    probes.eachTenantGetsItsOwnAnswer,
    /"client_certificate_file":"[^"]*","client_certificate_key_file":"[^"]*"/,
    '"renegotiation":"never"',
  ),
  byText(
    "root CA: guests verified at all",
    probes.anAddressOfAnotherTenantIsRefused,
    /"root_ca_pem_files":\[[^\]]*\]/,
    '"insecure_skip_verify":true',
  ),
  byText(
    "root CA: by the guests' authority",
    probes.aCertificateOfAnotherAuthorityIsRefused,
    /"root_ca_pem_files":\[[^\]]*\]/,
    '"insecure_skip_verify":true',
  ),
  byText("root CA: named", probes.eachTenantGetsItsOwnAnswer, /"root_ca_pem_files":\[[^\]]*\],/, ""),
  byText(
    "name to verify comes from the dialled name",
    probes.anAddressOfAnotherTenantIsRefused,
    /"root_ca_pem_files"/,
    '"server_name":"alpha.guest.internal","root_ca_pem_files"',
  ),
  byText("strict matcher", probes.onlyTenantNamesAreOurs, /\^\(\[a-z\][^$]*\$/g, "^(.*)\\\\.tenants\\\\.example$"),
  byText("whole host is matched", probes.theHostMustBeTheServerName, /"strict_sni_host":true,/, ""),
  byText("name file", probes.aWithdrawnNameIsRefusedOverPooledConnections, /"match":\[\{"file":.*?\]\}\}\],/, ""),
  byText("body limit", probes.aBodyOverTheLimitIsRefused, /"max_size":\d+/, '"max_size":1000000000'),
  byText(
    "HSTS",
    probes.answersCarryOurHeadersAndNotTheServers,
    /"set":\{"Strict-Transport-Security":\["max-age=31536000"\]\},/g,
    "",
  ),
  byText("no Server header", probes.answersCarryOurHeadersAndNotTheServers, /,"delete":\["Server"\]/g, ""),
  byText("error bodies", probes.anAddressOfAnotherTenantIsRefused, /,"errors":\{"routes":.*?\]\}(?=\},"redirect")/, ""),
  byText(
    "extra host name's file",
    probes.anExtraHostNameLeadsToItsTenantAlone,
    /\.hosts\/\{http\.request\.host\}/g,
    ".hosts/shop.example",
  ),
  byText("host is the server name", requestProbes.nothingIsSmuggled, /"strict_sni_host":true,/, ""),
  byText(
    "header limit",
    requestProbes.headersOverTheLimitAreRefused,
    /"max_header_bytes":\d+/,
    '"max_header_bytes":100000',
  ),
  byText(
    "requests are not tied to their configuration",
    probes.anAnswerOutlivesALoad,
    /"handler":"reverse_proxy","upstreams":\[\{"dial":"\{http/,
    '"flush_interval":-1,$&',
  ),
  byText(
    "limit of an answer's headers",
    requestProbes.anAnswerWithEndlessHeadersIsRefused,
    /"max_response_header_size":\d+,/g,
    "",
  ),
  byText(
    "time limit of headers",
    requestProbes.aSlowRequestIsCutOff,
    /"read_header_timeout":"\d+ms","read_timeout":"\d+ms"/,
    '"read_header_timeout":"1h","read_timeout":"1h"',
  ),
  byText("time limit of a request", requestProbes.aSlowBodyIsCutOff, /"read_timeout":"\d+ms"/, '"read_timeout":"1h"'),
  byText("idle limit", requestProbes.anIdleConnectionIsClosed, /"idle_timeout":"\d+ms"/, '"idle_timeout":"1h"'),
  byText(
    "only WebSocket upgrades",
    requestProbes.onlyWebSocketsAreUpgradesAndNobodyIsAProxy,
    /"header":\{"Upgrade":\["\*"\]\}/,
    '"header":{"Upgrade":["never"]}',
  ),
  byText(
    "no CONNECT and TRACE",
    requestProbes.onlyWebSocketsAreUpgradesAndNobodyIsAProxy,
    /"method":\["CONNECT","TRACE"\]/,
    '"method":["NONE"]',
  ),
  byText(
    "forged headers",
    requestProbes.whatOnlyAProxySaysIsCaddys,
    /"delete":\["Forwarded",[^\]]*\]/,
    '"delete":["None"]',
  ),
  byText("names with an underscore", requestProbes.whatOnlyAProxySaysIsCaddys, /,"\*_\*"/, ""),
  {
    ...byText("asks before it makes a certificate", probes.onlyPublishedNamesGetACertificate, /"ask":"[^"]*",/, ""),
    certificates: { kind: "internal", askPort: 5054 },
  },
  {
    control: "admin block in every load",
    probe: probes.nothingListensButWhatIsConfigured,
    async remove({ paths }, whole) {
      const { admin: _, ...rest } = whole as { [key: string]: Json };
      await loadConfig({ socketPath: paths.adminSocket }, rest);
    },
  },
  {
    control: "drift check",
    probe: probes.nothingListensButWhatIsConfigured,
    // Nobody compares: what was loaded by the side stays.
    remove: ({ paths }) => loadConfig({ socketPath: paths.adminSocket }, { admin: { listen: "127.0.0.1:2019" } }),
  },
  {
    control: "modes of the admin socket and its directory",
    probe: probes.strangersCannotOpenTheAdminSocket,
    async remove({ paths }) {
      chmodSync(paths.adminDirectory, 0o755);
      chmodSync(paths.adminSocket, 0o666);
    },
  },
];

const caddy = await findCaddy();

describe("controls of proxy, taken away one by one", { skip: "reason" in caddy && caddy.reason }, () => {
  for (const { control, probe, remove, ...own } of ablations) {
    describe(control, () => {
      let stage: BareStage;
      let whole: Json;
      before(async () => {
        stage = await openBareStage("path" in caddy ? caddy.path : "");
        whole = caddyConfig({ ...sceneSettings(stage.paths, defaultLimits), ...own });
        await stage.configure(whole);
      });
      after(() => stage.scene.close());

      it(`${probe.name} holds with it`, () => probe(stage));
      it(`${probe.name} does not hold without it`, async () => {
        await remove(stage, whole);
        await assert.rejects(probe(stage));
      });
    });
  }
});

/** A control that is a piece of the configuration: the same configuration with `pattern` replaced. */
function byText(control: string, probe: Probe, pattern: RegExp, replacement: string): Ablation {
  return {
    control,
    probe,
    async remove(stage, whole) {
      const before = JSON.stringify(whole);
      const after = before.replace(pattern, replacement);
      assert.notEqual(after, before, "the pattern is not in the configuration");
      await stage.configure(JSON.parse(after) as Json);
    },
  };
}
