import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { z } from "zod";

const path = z.string().startsWith("/");
const listenAddress = z.string().regex(/^(unix\/\/.{1,100}|[0-9a-f.:[\]]*:[0-9]{1,5})$/);
const milliseconds = (fallback: number) => z.int().min(1).max(3_600_000).default(fallback);

const limitsSchema = z.strictObject({
  maxHeaderBytes: z.int().min(1024).max(1_048_576).default(32_768).describe("headers of one request"),
  maxAnswerHeaderBytes: z.int().min(1024).max(1_048_576).default(65_536).describe("headers of a guest's answer"),
  maxBodyBytes: z
    .int()
    .min(1)
    .default(10 * 1024 * 1024)
    .describe("body of one request"),
  readHeaderTimeoutMs: milliseconds(10_000).describe("for a client to send its headers"),
  readTimeoutMs: milliseconds(60_000).describe("for a client to send a whole request, body and all"),
  idleTimeoutMs: milliseconds(30_000).describe("between two requests on a client's connection"),
  dialTimeoutMs: milliseconds(3000).describe("for a guest to accept a connection"),
  holdLimitMs: milliseconds(45_000).describe("for a sleeping tenant to be awake; a request waits so long"),
  responseHeaderTimeoutMs: milliseconds(300_000).describe("for a guest to begin its answer"),
  upstreamIdleMs: milliseconds(5000).describe("how long an unused connection to a guest is kept"),
});

const askPort = z
  .int()
  .min(1)
  .max(65_535)
  .default(5054)
  .describe("port on 127.0.0.1 where Caddy asks itself whether a name is published");

const certificatesSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("files"),
    pairs: z
      .array(
        z.strictObject({
          certificatePath: path.describe("PEM chain, readable by Caddy"),
          keyPath: path.describe("its key, readable by Caddy and nobody else"),
        }),
      )
      .min(1)
      .max(64)
      .describe("one of them for *.<domain>"),
  }),
  z.strictObject({ kind: z.literal("internal"), askPort }),
  z.strictObject({
    kind: z.literal("acme"),
    directoryUrl: z.url({ protocol: /^https$/ }).describe("ACME directory of the authority"),
    email: z.email().describe("whom the authority writes to"),
    trustedRootPath: path.optional().describe("PEM root for the authority's own HTTPS, instead of the machine's"),
    askPort,
  }),
]);

const caddySchema = z.strictObject({
  adminSocketPath: path.max(107).describe("Caddy's admin API"),
  httpsListen: z
    .array(listenAddress)
    .min(1)
    .max(8)
    .describe("where Caddy serves HTTPS: :443, 0.0.0.0:443, unix//run/x.sock"),
  redirectListen: z.array(listenAddress).min(1).max(8).describe("where Caddy redirects HTTP to HTTPS: :80"),
  publicHttpsPort: z.int().min(1).max(65_535).default(443).describe("port that people type; in redirects"),
  certificates: certificatesSchema.describe(
    "of the front: files, internal (Caddy's own authority, development) or acme",
  ),
  guestCaPath: path.describe("PEM certificate of the guest CA, the only one that guests are verified with"),
  clientCertificatePath: path.describe("Caddy's client certificate for guests, readable by Caddy"),
  clientKeyPath: path.describe("its key, readable by Caddy and nobody else"),
  certificatesStampPath: path
    .optional()
    .describe("JSON string, digest of all certificate files of Caddy; written after they were made anew"),
  checkIntervalMs: z
    .int()
    .min(100)
    .max(10_000)
    .default(5000)
    .describe("how often the running configuration is compared"),
  limits: limitsSchema
    .refine(({ holdLimitMs, readTimeoutMs }) => holdLimitMs < readTimeoutMs, {
      // The body of a request that waits is read when it goes on, and its time has been running since it came.
      error: "holdLimitMs has to be less than readTimeoutMs",
      path: ["holdLimitMs"],
    })
    .prefault({})
    .describe("bounds of requests and connections"),
});

export const configSchema = commonConfigSchema.extend({
  domain: z
    .string()
    .regex(/^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){0,8}$/)
    .describe("tenants answer at https://<tenant>.<domain>/"),
  namesDirectory: path.describe(
    "directory on tmpfs: ours to write, Caddy's to search (owner proxy, group caddy, mode 2710)",
  ),
  resolverPort: z
    .int()
    .min(1)
    .max(65_535)
    .default(5053)
    .describe("UDP port on 127.0.0.1 that Caddy asks for guests' addresses"),
  guestNetwork: z.cidrv4().default("10.201.0.0/16").describe("the only addresses that a name may lead to"),
  guestPort: z.int().min(1).max(65_535).default(9000).describe("port of the gateway in the guest"),
  waking: z
    .strictObject({
      maxHeld: z.int().min(1).max(65_536).default(2048).describe("requests to sleeping tenants that wait at a time"),
      maxHeldPerTenant: z.int().min(1).max(65_536).default(256).describe("of one tenant"),
      maxQuestions: z.int().min(1).max(1024).default(64).describe("tenants that vm is asked to wake at a time"),
    })
    .prefault({})
    .describe("bounds of requests to sleeping tenants"),
  caddy: caddySchema,
  peers: z.strictObject({
    audit: path.max(107).describe("Unix socket of the audit service"),
    vm: path.max(107).describe("Unix socket of the vm service"),
  }),
});

export type Config = Readonly<z.infer<typeof configSchema>>;
