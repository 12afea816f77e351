/**
 * Takes one control away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/secrets/src/controls.ablation.ts`. A row whose test still passes is a control that nothing tests.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Removal, runWithout } from "@lobsterd/chassis/testing-control-removal.ts";

interface Ablation {
  readonly control: string;
  readonly removals: readonly Removal[];
  readonly test: readonly [file: string, name: string];
}

const boxSwap = [
  "envelope/sealed-box.test.ts",
  "swap: of 10,000 boxes or bound fields put in another's place none opens",
] as const;
const wrongGuest = ["injection/injection.test.ts", "who is not the guest gets nothing, and the lease stays"] as const;
const rightGuest = [
  "injection/injection.test.ts",
  "the right guest gets the bound secrets of its tenant and the token, once",
] as const;
const leaseScope = [
  "injection/injection.test.ts",
  "a lease is for its tenant, microVM and generation, and ends",
] as const;
const shredded = [
  "sealed/shredder.test.ts",
  "after a shred no wrapped key and no ciphertext of the tenant is on disk, and others are untouched",
] as const;
const modes = ["root-key/file-provider.test.ts", "modes 0400 and 0600 are taken, every other one is refused"] as const;
const oddFiles = [
  "root-key/file-provider.test.ts",
  "a file of another size, a link, a directory, a FIFO and a placeholder are refused",
] as const;

const secrets = (file: string, find: string, replace: string): Removal => ({
  file: `secrets/src/${file}`,
  find,
  replace,
});
const chassis = (file: string, find: string, replace: string): Removal => ({
  file: `chassis/src/${file}`,
  find,
  replace,
});

const bindingFields = [
  "binding.purpose",
  "binding.tenant",
  "binding.object",
  "String(binding.version)",
  "binding.keyId",
];

const ablations: readonly Ablation[] = [
  {
    control: "associated data",
    removals: [
      secrets("envelope/sealed-box.ts", "  cipher.setAAD(encodeBinding(binding));\n", ""),
      secrets("envelope/sealed-box.ts", "  decipher.setAAD(encodeBinding(binding));\n", ""),
    ],
    test: boxSwap,
  },
  ...bindingFields.map((field) => ({
    control: `associated data: ${field}`,
    removals: [secrets("envelope/binding.ts", field, '""')],
    test: boxSwap,
  })),
  {
    control: "lengths in the associated data",
    removals: [secrets("envelope/binding.ts", "parts.push(length, bytes)", "parts.push(bytes)")],
    test: ["envelope/sealed-box.test.ts", "bindings that read the same when run together encode differently"],
  },
  {
    control: "authentication tag",
    removals: [secrets("envelope/sealed-box.ts", "    decipher.final();\n", "")],
    test: boxSwap,
  },
  {
    control: "expected URI of the guest",
    removals: [
      chassis(
        "peer-connection.ts",
        "if (uris.length === 1 && uris[0] === expected) return undefined;",
        "return undefined;",
      ),
    ],
    test: wrongGuest,
  },
  {
    control: "generation in the expected URI",
    removals: [
      chassis(
        "peer-connection.ts",
        "uris[0] === expected)",
        "uris[0]?.replace(/[0-9]+$/, '') === expected.replace(/[0-9]+$/, ''))",
      ),
    ],
    test: ["injection/injection.test.ts", "the previous generation of the same microVM gets nothing"],
  },
  {
    control: "chain of the guest's certificate",
    removals: [chassis("peer-connection.ts", "rejectUnauthorized: true", "rejectUnauthorized: false")],
    test: wrongGuest,
  },
  {
    control: "TLS 1.3 to the guest",
    removals: [chassis("peer-connection.ts", 'minVersion: "TLSv1.3"', 'minVersion: "TLSv1.2"')],
    test: ["injection/injection.test.ts", "a guest that speaks TLS 1.2 at most gets nothing"],
  },
  {
    control: "lease: single use",
    removals: [secrets("injection/lease.ts", "if (issued.injectTimeMs !== undefined) {", "if (false) {")],
    test: rightGuest,
  },
  {
    control: "lease: no second one for a generation",
    removals: [
      secrets(
        "injection/lease.ts",
        "issued.generation === name.generation && issued.leaseExpireTimeMs !== undefined",
        "false",
      ),
    ],
    test: rightGuest,
  },
  {
    control: "lease: end",
    removals: [
      secrets("injection/lease.ts", "leaseExpireTimeMs <= nowMs", "false"),
      secrets("injection/injector.ts", "Math.min(limits.timeoutMs, leaseExpireTimeMs - now())", "limits.timeoutMs"),
    ],
    test: leaseScope,
  },
  {
    control: "lease: tenant",
    removals: [secrets("injection/lease.ts", " && issued.tenant === name.tenant && ", " && ")],
    test: leaseScope,
  },
  {
    control: "lease: not yet issued generation",
    removals: [secrets("injection/lease.ts", " && issued.generation >= name.generation", "")],
    test: leaseScope,
  },
  {
    control: "lease: acquired before it is used",
    removals: [
      secrets("injection/lease.ts", "  if (leaseExpireTimeMs === undefined) {", "  if (false) {"),
      secrets("injection/lease.ts", "leaseExpireTimeMs <= nowMs", "(leaseExpireTimeMs ?? Infinity) <= nowMs"),
    ],
    test: leaseScope,
  },
  {
    control: "lease: one in the life of an identity",
    removals: [secrets("store/identity-store.ts", " AND lease_expire_time_ms IS NULL`", "`")],
    test: leaseScope,
  },
  {
    control: "lease: one delivery at a time",
    removals: [secrets("injection/injector.ts", "if (underWay.has(guest.vmId)) {", "if (false) {")],
    test: ["injection/injection.test.ts", "parallel injections into one guest deliver once"],
  },
  {
    control: "lease: stays while nothing was delivered",
    removals: [
      secrets(
        "injection/injector.ts",
        "await deliver(guest, address, [...secrets, token], limits);",
        "identities.markInjected(guest, now());\n      await deliver(guest, address, [...secrets, token], limits);",
      ),
    ],
    test: wrongGuest,
  },
  {
    control: "guests' network",
    removals: [secrets("injection/guest-network.ts", 'if (inside.check(address, "ipv4")) return;', "return;")],
    test: [
      "injection/injection.test.ts",
      "an address outside the guests' network is refused before anything is opened or dialled",
    ],
  },
  {
    control: "a guest's words are dropped",
    removals: [secrets("injection/guest-failure.ts", '"the guest\'s agent refused the secrets"', "failure.rawMessage")],
    test: ["injection/injection.test.ts", "an agent that refuses keeps the lease open, and its words go nowhere"],
  },
  {
    control: "key file: mode",
    removals: [secrets("root-key/private-file.ts", "if (!privateModes.has(mode)) {", "if (false) {")],
    test: modes,
  },
  {
    control: "key file: owner",
    removals: [secrets("root-key/private-file.ts", "status.uid !== user", "false")],
    test: ["root-key/file-provider.test.ts", "a file of another owner is refused"],
  },
  {
    control: "key file: no link",
    removals: [secrets("root-key/private-file.ts", "constants.O_RDONLY | constants.O_NOFOLLOW", "constants.O_RDONLY")],
    test: oddFiles,
  },
  {
    control: "key file: size",
    removals: [
      secrets("root-key/private-file.ts", "status.size < limits.minBytes || status.size > limits.maxBytes", "false"),
    ],
    test: oddFiles,
  },
  {
    control: "key file: not a placeholder",
    removals: [secrets("root-key/file-provider.ts", "new Set(bytes).size < 8", "false")],
    test: oddFiles,
  },
  {
    control: "shred: deleted pages are overwritten",
    removals: [secrets("store/database.ts", "PRAGMA secure_delete = ON", "PRAGMA secure_delete = OFF")],
    test: shredded,
  },
  {
    control: "shred: the write-ahead log ends",
    removals: [secrets("sealed/shredder.ts", "    emptyWriteAheadLog(database);\n", "")],
    test: shredded,
  },
  {
    control: "shred: a late write is refused",
    removals: [secrets("sealed/sealed-secrets.ts", "!keyStore.holds(key.tenant, key.id)", "false")],
    test: ["sealed/shredder.test.ts", "a put that unwrapped the key before a shred does not write after it"],
  },
  {
    control: "audit before what widens",
    removals: [secrets("audit-policy.ts", "      PutSecret: widening,\n", "")],
    test: ["rpc/secrets.test.ts", "without audit what widens is not done, and a shred is"],
  },
  {
    control: "allow table",
    removals: [secrets("access.ts", "putSecret: write,", 'putSecret: ["role:operator", "role:viewer"],')],
    test: ["rpc/secrets.test.ts", "every caller has the methods of the allow table and no other"],
  },
];

const intact = new Map<string, Promise<void>>();

/** A test that fails, or does not exist, with the control in place shows nothing when it fails without. */
async function passesIntact(file: string, name: string): Promise<void> {
  const run = await runWithout([], { service: "secrets", file, name });
  assert.ok(run.passed && run.count === 1, `with every control in place ${name} has to run and pass:\n${run.output}`);
}

for (const {
  control,
  removals,
  test: [file, name],
} of ablations) {
  test(`without "${control}" its test fails`, async () => {
    const whole = intact.get(name) ?? passesIntact(file, name);
    intact.set(name, whole);
    await whole;
    const run = await runWithout(removals, { service: "secrets", file, name });
    assert.equal(run.count, 1, run.output);
    assert.equal(run.passed, false, `${name} passes without the control`);
  });
}
