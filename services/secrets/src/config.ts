import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { z } from "zod";

const file = (what: string) => z.string().startsWith("/").describe(what);

/** Configuration of the `secrets` service: what every service has, and the keys below. */
export const configSchema = commonConfigSchema.extend({
  domain: z
    .string()
    .min(1)
    .optional()
    .describe("tenants are reached as <tenant>.<domain>; the trust domain by default"),
  rootKeyPath: file("32 raw bytes, owner this process's user, mode 0400 or 0600; outside stateDir and its backups"),
  guestCaCertificatePath: file("certificate of the authority that signs guests, PEM"),
  guestCaKeyPath: file("its EC P-256 key, PEM, owner this process's user, mode 0400 or 0600"),
  guestCertificateHours: z.number().int().min(1).max(168).default(24).describe("how long a guest's certificate lasts"),
  guestCertificateBackdateSeconds: z
    .number()
    .int()
    .min(0)
    .max(3600)
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

export type Config = Readonly<z.infer<typeof configSchema>>;
