/**
 * Takes one control of certificates away at a time, in a copy of the chassis, and shows that its test goes red:
 * `node --test services/chassis/src/certificates.ablation.ts`.
 */
import { type Ablation, ablate, type Removal } from "./testing-control-removal.ts";

const removal = (file: string, find: string, replace: string): Removal => ({
  file: `services/chassis/src/${file}`,
  find,
  replace,
});
const renewals = "20 renewals of the server's and the callers' certificates fail no call";
const kept = "files that do not fit together, or are gone, leave in force what was read before";
const revoked =
  "a revoked certificate is refused within seconds, on open connections too, and its streams end; a new one is served";

const controls: readonly { control: string; removals: readonly Removal[]; name: string }[] = [
  {
    control: "a server takes the new certificate",
    removals: [removal("server.ts", "for (const listener of listeners) listener.renew(next);", "")],
    name: renewals,
  },
  {
    control: "a client takes the new certificate",
    removals: [removal("client.ts", "next !== undefined && next !== stamp", "next === 'another'")],
    name: renewals,
  },
  {
    control: "a call that runs ends on the connection it is on",
    removals: [removal("client.ts", "      retire(current.sessions, retired);\n", "      current.sessions.abort();\n")],
    name: renewals,
  },
  {
    control: "a certificate and a key that fit",
    removals: [
      removal(
        "tls-credential.ts",
        "if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {",
        "if (false) {",
      ),
    ],
    name: kept,
  },
  {
    control: "revocation list at the gate",
    removals: [
      removal("gate.ts", "revoked: options.revocations(), issued", "revoked: new Set(), issued"),
      removal("server.ts", "listener.cut((socket) => endOf(peerOf(socket), lists) !== undefined);", ";"),
    ],
    name: revoked,
  },
  {
    control: "open connections of a revoked certificate",
    removals: [removal("server.ts", "listener.cut((socket) => endOf(peerOf(socket), lists) !== undefined);", ";")],
    name: revoked,
  },
  {
    control: "a broken list takes nothing back",
    removals: [
      removal(
        "followed-file.ts",
        "    } catch (error) {\n",
        '    } catch (error) {\n      current = { stamp: "", value: parse({}) };\n',
      ),
    ],
    name: revoked,
  },
];

const file = "services/chassis/src/certificates.host.test.ts";
export const ablations: readonly Ablation[] = controls.map(({ name, ...ablation }) => ({
  ...ablation,
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
