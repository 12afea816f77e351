import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { z } from "zod";

const file = (what: string) => z.string().startsWith("/").describe(what);

const shardsDir = file(
  "one file for each tenant key, own user, mode 0700; outside stateDir, in no backup older than a day",
);

const rootKeySchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("file"),
    path: file("32 raw bytes, own user, mode 0400 or 0600; its directory has to be writable to rotate"),
    shardsDir,
  }),
  z.strictObject({
    kind: z.literal("systemd-credential"),
    name: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/)
      .describe("name in LoadCredentialEncrypted= of the unit"),
    shardsDir,
  }),
  z.strictObject({
    kind: z.literal("environment"),
    variable: z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/),
    shardsDir,
  }),
  z.strictObject({
    kind: z.literal("vault-transit"),
    address: z
      .string()
      .regex(/^https:\/\/[A-Za-z0-9.-]+(:[0-9]{1,5})?$/)
      .describe("https://host:port of Vault or OpenBao"),
    caPath: file("the only authority that its certificate is verified with, PEM"),
    tokenPath: file("its token, own user, mode 0400 or 0600; read anew for each request"),
    namespace: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9/_-]{0,127}$/)
      .optional(),
    mount: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/)
      .default("transit"),
    keyName: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/),
    timeoutMs: z.number().int().min(100).max(30_000).default(3000).describe("bound of one request"),
  }),
]);
export type RootKeyConfig = Readonly<z.infer<typeof rootKeySchema>>;

/** Configuration of the `secrets` service: what every service has, and the keys below. */
export const configSchema = commonConfigSchema.extend({
  domain: z
    .string()
    .min(1)
    .optional()
    .describe("tenants are reached as <tenant>.<domain>; the trust domain by default"),
  mode: z
    .enum(["production", "development"])
    .default("production")
    .describe("development allows a root key in the environment"),
  rootKey: rootKeySchema.describe("what wraps tenants' keys: file, systemd-credential, environment or vault-transit"),
  guestCaCertificatePath: file("certificate of the authority that signs guests, PEM"),
  guestCaKeyPath: file("its EC P-256 key, PEM, owner this process's user, mode 0400 or 0600"),
  clientsCaKeyPath: file("key of `clients.caPath`, as the guest CA's; without both no client is issued").optional(),
  guestCertificateMinutes: z
    .number()
    .int()
    .min(20)
    .max(60)
    .default(60)
    .describe(
      "how long a guest's certificate lasts, from its beginning in the past on; it is renewed at half of what is left",
    ),
  guestCertificateBackdateSeconds: z
    .number()
    .int()
    .min(0)
    .max(900)
    .default(300)
    .describe("how far before now it begins"),
  leaseSeconds: z.number().int().min(1).max(300).default(60).describe("how long an injection lease lasts"),
  leaseAlarmPerMinute: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(120)
    .describe("more leases in a minute are an alarm"),
  guestNetwork: z.cidrv4().default("10.201.0.0/16").describe("the only addresses that secrets are sent to"),
  guestAgentPort: z.number().int().min(1).max(65535).default(7443).describe("port of the agent in a guest"),
  injectLimitMs: z
    .number()
    .int()
    .min(100)
    .max(120_000)
    .default(20_000)
    .describe("bound of one delivery, connecting included"),
  rotationSweepSeconds: z
    .number()
    .int()
    .min(1)
    .max(3600)
    .default(60)
    .describe("how often guests that are behind with their secrets are tried again"),
  peers: z.strictObject({ audit: file("Unix socket of the audit service") }),
});

/** The same, with what only the keys together can be wrong about. */
export const checkedConfigSchema = configSchema
  .refine(({ mode, rootKey }) => mode === "development" || rootKey.kind !== "environment", {
    path: ["rootKey", "kind"],
    message: "an environment can be read in /proc and is inherited; not in production mode",
  })
  .refine(({ clients, clientsCaKeyPath }) => clientsCaKeyPath === undefined || clients !== undefined, {
    path: ["clientsCaKeyPath"],
    message: "goes with clients",
  });

export type Config = Readonly<z.infer<typeof configSchema>>;
