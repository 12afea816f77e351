/**
 * Takes one control away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/secrets/src/controls.ablation.ts`. A row whose test still passes is a control that nothing tests.
 */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

interface Control {
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
const keptKey = [
  "sealed/shredder.test.ts",
  "a key that somebody misses stays: with a secret, a token that was told, or another microVM",
] as const;
const modes = ["root-key/file-source.test.ts", "modes 0400 and 0600 are taken, every other one is refused"] as const;
const oddFiles = [
  "root-key/file-source.test.ts",
  "a file of another size, a link, a directory, a FIFO and a placeholder are refused",
] as const;

const places = [
  "rpc/secrets.test.ts",
  "reserved names and places, unknown secrets and values that do not fit are refused with their reason",
] as const;
const rotationTest = (name: string) => ["injection/rotation.test.ts", name] as const;
const rootRotation = (name: string) => ["sealed/root-rotation.test.ts", name] as const;
const vault = (name: string) => ["root-key/vault-provider.test.ts", name] as const;

const secrets = (file: string, find: string, replace: string): Removal => ({
  file: `services/secrets/src/${file}`,
  find,
  replace,
});
const chassis = (file: string, find: string, replace: string): Removal => ({
  file: `services/chassis/src/${file}`,
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

const controls: readonly Control[] = [
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
    removals: [
      chassis("peer-connection.ts", "connectTls(address, credential, true)", "connectTls(address, credential, false)"),
    ],
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
      secrets("injection/injector.ts", "Math.min(timeoutMs, leaseExpireTimeMs - now())", "timeoutMs"),
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
    removals: [secrets("injection/deliveries.ts", "if (underWay.has(session.vmId)) {", "if (false) {")],
    test: ["injection/injection.test.ts", "parallel injections into one guest deliver once"],
  },
  {
    control: "lease: stays while nothing was delivered",
    removals: [
      secrets(
        "injection/deliveries.ts",
        "await deliver(session, session.guestAddress, [...secrets, token], limits);",
        "taken();\n      await deliver(session, session.guestAddress, [...secrets, token], limits);",
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
    removals: [
      chassis(
        "client-interceptors.ts",
        'failure.isWireError ? new ConnectError("the peer refused the call", failure.code) : error',
        "error",
      ),
      secrets("injection/guest-failure.ts", '"the guest\'s agent refused the secrets"', "failure.rawMessage"),
    ],
    test: ["injection/injection.test.ts", "an agent that refuses keeps the lease open, and its words go nowhere"],
  },
  {
    control: "key file: mode",
    removals: [
      secrets(
        "root-key/private-file.ts",
        "if (!(isRoots ? credentialModes : privateModes).has(mode)) {",
        "if (false) {",
      ),
    ],
    test: modes,
  },
  {
    control: "key file: owner",
    removals: [secrets("root-key/private-file.ts", "status.uid !== user", "false")],
    test: ["root-key/file-source.test.ts", "a file of another owner is refused"],
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
      secrets("root-key/root-key.ts", "bytes.length !== rootKeyBytes", "false"),
    ],
    test: oddFiles,
  },
  {
    control: "key file: not a placeholder",
    removals: [secrets("root-key/root-key.ts", "new Set(bytes).size < 8", "false")],
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
    control: "rotation: audit before a secret is sent",
    removals: [secrets("injection/rotation.ts", "    if (!isRecorded) await audit.append(intent);\n", "")],
    test: rotationTest("what was put while the service could not deliver is delivered at its next start"),
  },
  {
    control: "rotation: a guest whose identity is gone is sent nothing",
    removals: [
      secrets(
        "store/identity-store.ts",
        "DELETE FROM guest_identity WHERE tenant = ? AND vm_id = ?",
        "DELETE FROM guest_identity WHERE tenant = ? AND vm_id = ? AND guest_address IS NULL",
      ),
    ],
    test: rotationTest("a revoked guest and an older generation are sent nothing more"),
  },
  {
    control: "rotation: another try after a failure",
    removals: [secrets("injection/rotation.ts", "      limits.delayed(error);\n", "      return reason;\n")],
    test: rotationTest("a guest that refuses at first, or is away, is tried again until it has the version"),
  },
  {
    control: "rotation: nothing is sent to a guest that has everything",
    removals: [secrets("injection/rotation.ts", "if (isBehindNow(session)) waiting.add", "waiting.add")],
    test: rotationTest("an unbound secret and another tenant's reach nobody, and nothing is sent twice"),
  },
  {
    control: "label: exact value",
    removals: [secrets("sealed/guest-set.ts", " && labels[label.key] === label.value", "")],
    test: ["sealed/guest-set.test.ts", "shared secrets are for tenants with exactly their label"],
  },
  {
    control: "label: own secrets first",
    removals: [secrets("sealed/guest-set.ts", " || own.some((secret) => collide(secret, candidate))", "")],
    test: ["sealed/guest-set.test.ts", "a tenant's own secret stands before a shared one of the same name or place"],
  },
  {
    control: "target: reserved places",
    removals: [secrets("sealed/targets.ts", "  if (!isReserved) return;", "  return;")],
    test: places,
  },
  {
    control: "target: text where text is needed",
    removals: [secrets("sealed/targets.ts", "if (isUtf8(bytes) && !bytes.includes(0)) return;", "return;")],
    test: places,
  },
  {
    control: "target: one secret a place",
    removals: [
      secrets("sealed/targets.ts", "  if (one.name === other.name) return true;", "  return one.name === other.name;"),
    ],
    test: places,
  },
  {
    control: "shred: a shard is part of what wraps",
    removals: [
      secrets(
        "root-key/local-provider.ts",
        "const shard = shards.read(tenantKeyId);",
        "const shard = Buffer.alloc(32);",
      ),
    ],
    test: ["root-key/file-source.test.ts", "file root key: after a destruction no copy opens, and the others do"],
  },
  {
    control: "shred: a shard is overwritten",
    removals: [
      secrets(
        "root-key/tenant-shards.ts",
        "        writeSync(descriptor, Buffer.alloc(fstatSync(descriptor).size), 0);\n",
        "",
      ),
    ],
    test: [
      "root-key/file-source.test.ts",
      "shards that others can enter are refused, and ones that are away are no destroyed keys",
    ],
  },
  {
    control: "shred: nobody else enters the shards",
    removals: [secrets("root-key/tenant-shards.ts", "if (mode !== 0o700)", "if (false)")],
    test: [
      "root-key/file-source.test.ts",
      "shards that others can enter are refused, and ones that are away are no destroyed keys",
    ],
  },
  {
    control: "shred: a key that somebody misses stays",
    removals: [secrets("sealed/shredder.ts", "secrets.isMissed(tenant) || ", "")],
    test: keptKey,
  },
  {
    control: "shred: the key of another microVM stays",
    removals: [secrets("sealed/shredder.ts", " || identities.hasAny(tenant)", "")],
    test: keptKey,
  },
  {
    control: "shred: a token that was told is missed",
    removals: [
      secrets("sealed/sealed-secrets.ts", '        if (reader === "person") secrets.markTokenTold(tenant);\n', ""),
    ],
    test: keptKey,
  },
  {
    control: "shred: what the provider has to destroy is noted",
    removals: [
      secrets("sealed/shredder.ts", "if (deletedId !== undefined) note.run(deletedId, tenant, uuidv7(), now());", ""),
    ],
    test: [
      "rpc/provider.test.ts",
      "after a shred yesterday's store opens nothing of the tenant, and everything of the others",
    ],
  },
  {
    control: "root rotation: the old key goes last",
    removals: [
      secrets(
        "sealed/root-rotation.ts",
        "    await keys.settled();\n",
        "    await keys.settled();\n    await provider.finishRotation();\n",
      ),
    ],
    test: rootRotation(
      "killed before or after any step, every tenant's key opens at the next start, and the rotation ends",
    ),
  },
  {
    control: "root rotation: keys that are being made",
    removals: [secrets("sealed/root-rotation.ts", "    await keys.settled();\n", "")],
    test: rootRotation("a tenant's key that was begun under the old root key is not left under it"),
  },
  {
    control: "root rotation: the retired key is overwritten",
    removals: [
      secrets(
        "root-key/file-source.ts",
        "        writeSync(retired, Buffer.alloc(rootKeyBytes), 0, rootKeyBytes, 0);\n",
        "",
      ),
    ],
    test: ["root-key/file-source.test.ts", "a retired root key is gone: nothing opens what only it wrapped"],
  },
  {
    control: "credential: modes",
    removals: [
      secrets(
        "root-key/private-file.ts",
        "if (!(isRoots ? credentialModes : privateModes).has(mode)) {",
        "if (false) {",
      ),
    ],
    test: [
      "root-key/credential-source.test.ts",
      "a credential is taken with the modes that systemd gives it, and with no other",
    ],
  },
  {
    control: "environment: not in production",
    removals: [secrets("config.ts", 'mode === "development" || ', "true || ")],
    test: [
      "root-key/environment-source.test.ts",
      "production mode, which is the default, refuses a root key in the environment",
    ],
  },
  {
    control: "Vault: its authority",
    removals: [
      secrets(
        "root-key/vault-client.ts",
        "        ca: readFileSync(caPath),\n",
        "        rejectUnauthorized: false,\n",
      ),
    ],
    test: vault("a server of another authority, or none, and a wrong, absent or open token are refused"),
  },
  {
    control: "Vault: tenant and key id as context",
    removals: [
      secrets(
        "root-key/vault-provider.ts",
        "tenant, object: tenantKeyId, version: 1, keyId: keyName",
        "tenant: tenant.slice(0, 0), object: tenantKeyId, version: 1, keyId: keyName",
      ),
    ],
    test: vault("Vault transit root key: refuses another tenant, key id or bytes"),
  },
  {
    control: "Vault: a deletion is asked about",
    removals: [secrets("root-key/vault-provider.ts", "if (await exists(path)) throw", "if (false) throw")],
    test: vault(
      "a destroyed key stays destroyed: made again under its name it opens nothing, and a deletion that can be undone is none",
    ),
  },
  {
    control: "Vault: deletion is allowed first",
    removals: [secrets("root-key/vault-provider.ts", "{ deletion_allowed: true }", "{}")],
    test: vault("Vault transit root key: after a destruction no copy opens, and the others do"),
  },
  {
    control: "Vault: an answer has an end",
    removals: [secrets("root-key/vault-client.ts", "if (size > maxAnswerBytes)", "if (false)")],
    test: vault("an answer without end is cut by its size, whatever the time allows"),
  },
  {
    control: "Vault: an answer comes in time",
    removals: [secrets("root-key/vault-client.ts", "        signal: AbortSignal.timeout(timeoutMs),\n", "")],
    test: vault(
      "every way in which the server can be out of order is ROOT_KEY_UNAVAILABLE within its limit, and heals",
    ),
  },
  {
    control: "Vault: old root key retired",
    removals: [secrets("root-key/vault-provider.ts", "min_decryption_version: latest, ", "")],
    test: vault("a retired version of the root key opens nothing any more"),
  },
  {
    control: "audit before what widens",
    removals: [secrets("audit-policy.ts", "      PutSecret: widening,\n", "")],
    test: ["rpc/secrets.test.ts", "without audit what widens is not done, and a shred is"],
  },
  {
    control: "allow table",
    removals: [secrets("access.ts", "putSecret: ownerWrite,", 'putSecret: ["role:operator", "role:viewer"],')],
    test: ["rpc/secrets.test.ts", "every caller has the methods of the allow table and no other"],
  },
];

export const ablations: readonly Ablation[] = controls.map(({ test: [file, name], ...ablation }) => ({
  ...ablation,
  noticedBy: { file: `services/secrets/src/${file}`, name },
}));

if (import.meta.main) ablate(ablations);
