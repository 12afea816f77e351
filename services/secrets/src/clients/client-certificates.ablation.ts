/**
 * Takes one control of clients' certificates away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/secrets/src/clients/client-certificates.ablation.ts`.
 */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const removal = (file: string, find: string, replace: string): Removal => ({
  file: `services/secrets/src/${file}`,
  find,
  replace,
});
const refused = "a bad name, role, request or key, and a name of the platform's, change nothing";
const full =
  "a thousand count and no more, their list is one that services read, the expired make room, and none outlasts the authority";
const former = "a revoked name is its former client's: it is issued again only if the operator says so";
const ended = "the owner is an owner, the viewer a viewer, and an end of the certificate is an end of both";
const pages = "what counts is listed in pages, and written again at the start as the store has it";
const several = "one certificate of several is ended by its serial number, and of its own name alone";
const unrecorded = "without audit nothing is issued, and a revocation is done all the same";

const controls: readonly { control: string; removals: readonly Removal[]; name: string }[] = [
  {
    control: "proof of the key",
    removals: [removal("clients/certificate-request.ts", "if (!(await isProved()))", "if (false)")],
    name: refused,
  },
  {
    control: "kinds of keys",
    removals: [
      removal(
        "clients/certificate-request.ts",
        '["prime256v1", "secp384r1"]',
        '["prime256v1", "secp384r1", "secp256k1", ""]',
      ),
    ],
    name: refused,
  },
  {
    control: "one request",
    removals: [removal("clients/certificate-request.ts", "([A-Za-z0-9+/=\\s]+)", "([^]+)")],
    name: refused,
  },
  {
    control: "the platform's names",
    removals: [
      removal("clients/client-certificates.ts", "roles().has(clientUri(trustDomain, name))", "roles().has(name)"),
    ],
    name: refused,
  },
  {
    control: "a revoked name is its former client's",
    removals: [removal("clients/client-certificates.ts", "store.isRevoked(name) && !reissue", "false")],
    name: former,
  },
  {
    control: "a name is revoked with all of its certificates",
    removals: [
      removal(
        "clients/client-certificates.ts",
        '        if (serialNumber === "") store.revokeName(name, now());\n',
        "",
      ),
    ],
    name: former,
  },
  {
    control: "a thousand at most",
    removals: [removal("clients/client-certificates.ts", "store.count() >= maxCertificates", "false")],
    name: full,
  },
  {
    control: "the expired make room",
    removals: [removal("clients/client-certificates.ts", "        store.removeExpired(issueTimeMs);\n", "")],
    name: full,
  },
  {
    control: "the authority's own end",
    removals: [
      removal(
        "clients/client-authority.ts",
        "Math.min(nowMs + days * dayMs, authority.expireTimeMs)",
        "nowMs + days * dayMs",
      ),
    ],
    name: full,
  },
  {
    control: "a revocation is published",
    removals: [
      removal("clients/client-certificates.ts", "        publish();\n        return ended;", "        return ended;"),
    ],
    name: ended,
  },
  {
    control: "the list is written at the start",
    removals: [removal("clients/client-certificates.ts", "  publish();\n\n  return {", "  return {")],
    name: pages,
  },
  {
    control: "a serial number is of its name",
    removals: [
      removal(
        "clients/client-store.ts",
        "WHERE name = ?1 AND (?2 = '' OR serial_number = ?2)",
        "WHERE (?2 = '' AND name = ?1) OR serial_number = ?2",
      ),
    ],
    name: several,
  },
  {
    control: "issuing waits for audit",
    removals: [
      removal(
        "audit-policy.ts",
        'IssueClientCertificate: { kind: "widening", describe: describeClient },',
        'IssueClientCertificate: { kind: "narrowing", describe: describeClient },',
      ),
    ],
    name: unrecorded,
  },
];

const file = "services/secrets/src/rpc/client-certificates.test.ts";
export const ablations: readonly Ablation[] = controls.map(({ name, ...ablation }) => ({
  ...ablation,
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
