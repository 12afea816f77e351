import { availableParallelism } from "node:os";
import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { z } from "zod";

const peer = (service: string) => z.string().describe(`Unix socket of the ${service} service`);

/** Configuration of the `vm` service: what every service has, and the keys below. */
export const configSchema = commonConfigSchema.extend({
  domain: z.string().describe("tenants are reached at https://<tenant>.<domain>/"),
  publicHttpsPort: z.number().int().min(1).max(65535).default(443).describe("port in the URLs that callers are given"),
  mode: z
    .enum(["production", "development"])
    .default("production")
    .describe("production refuses to spawn on a host that does not meet its required controls (CheckHost)"),
  postureIntervalMs: z.number().int().min(1000).default(3_600_000).describe("how often the host's posture is checked"),
  waiversPath: z
    .string()
    .default("/etc/lobsterd/waivers.json")
    .describe("dated waivers of host controls, root's alone"),
  attestationsPath: z
    .string()
    .default("/etc/lobsterd/attestations.json")
    .describe("what an operator attests and software cannot read, root's alone"),
  knownVersionsPath: z.string().optional().describe("table of known versions, in place of the one of this release"),
  riskRegisterPath: z.string().optional().describe("register of residual risks, in place of the one of this release"),
  rootKey: z
    .object({
      keyDir: z.string().describe("directory of the file with secrets' root key"),
      storeDir: z.string().describe("directory of the secrets that it seals"),
    })
    .optional()
    .describe("where the root key is a file on this host"),
  imagesDir: z.string().describe("directory of installed guest images, one directory each"),
  launcherSocketPath: z.string().describe("Unix socket of the launcher"),
  guestCaPath: z.string().describe("certificate of the authority that signs guests, PEM"),
  peers: z.object({
    audit: peer("audit"),
    net: peer("net"),
    proxy: peer("proxy"),
    secrets: peer("secrets"),
  }),
  slotCount: z.number().int().min(1).max(32768).default(64).describe("microVMs this host can hold"),
  slotQuarantineMs: z
    .number()
    .int()
    .min(0)
    .default(60_000)
    .describe("a freed slot's address is not reused for so long"),
  vcpuOvercommit: z
    .number()
    .min(0.1)
    .max(64)
    .default(8)
    .describe("vCPUs that tenants may have together, for each core of the host"),
  reservedMemoryMib: z
    .number()
    .int()
    .min(0)
    .default(1024)
    .describe("memory of the host that no tenant is given: the services and the kernel need it"),
  reservedDiskMib: z
    .number()
    .int()
    .min(0)
    .default(1024)
    .describe("disk below overlays and sealed memories that no tenant is given"),
  maxVcpuCount: z.number().int().min(1).max(32).default(2).describe("most vCPUs a tenant may ask for"),
  maxMemoryMib: z.number().int().min(128).default(4096).describe("most memory a tenant may ask for"),
  defaultDiskMib: z.number().int().min(64).default(1024).describe("writable disk of a tenant that names no size"),
  maxDiskMib: z.number().int().min(64).default(16_384).describe("largest writable disk a tenant may ask for"),
  concurrentBoots: z
    .number()
    .int()
    .min(1)
    .default(() => availableParallelism())
    .describe("boots at once; more of them only slow one another down (default: number of cores)"),
  maxQueuedBoots: z.number().int().min(0).default(64).describe("boots that may wait; more are refused"),
  bootLimitMs: z.number().int().min(1000).default(60_000).describe("a guest that has not answered by then is killed"),
  spoolDir: z.string().describe("directory on a tmpfs, 0700, where the memory of a guest is while it is loaded"),
  suspendLimitMs: z.number().int().min(1000).default(120_000).describe("a suspend that takes longer is given up"),
  resumeLimitMs: z.number().int().min(1000).default(120_000).describe("a resume that takes longer is given up"),
  backupLimitMs: z
    .number()
    .int()
    .min(1000)
    .default(3_600_000)
    .describe("a backup, or the writing of a disk from one, that takes longer is given up"),
  backupKeepCount: z
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(7)
    .describe("backups of a tenant; the one that was added first goes when there is another"),
  backupMaxAgeMs: z
    .number()
    .int()
    .min(1000)
    .default(30 * 86_400_000)
    .describe("a backup that was added longer ago is deleted"),
  maxBackupsMib: z.number().int().min(1).default(102_400).describe("what all backups of this host may take together"),
  concurrentBackups: z.number().int().min(1).default(1).describe("backups, restores and imports at once"),
  maxQueuedBackups: z.number().int().min(0).default(16).describe("how many of them may wait; more are refused"),
  concurrentWakes: z
    .number()
    .int()
    .min(1)
    .max(1024)
    .default(() => availableParallelism())
    .describe("tenants that are woken at once (default: number of cores); each takes a place among the boots"),
  maxQueuedWakes: z
    .number()
    .int()
    .min(0)
    .max(1024)
    .default(16)
    .describe("wakes that may wait for one of these; more are refused"),
  wakesPerHour: z
    .number()
    .int()
    .min(1)
    .max(3600)
    .default(20)
    .describe("how often a tenant is woken in an hour, by requests and schedules together"),
  minimumRunMs: z
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(60_000)
    .describe("how long a tenant runs after a wake before it may be suspended for being idle"),
  defaultIdleMode: z
    .enum(["after", "manual", "never"])
    .default("after")
    .describe("tenants that do not say: suspended after they were idle for a while, by SuspendTenant only, or never"),
  idleThresholdMs: z
    .number()
    .int()
    .min(1000)
    .max(86_400_000)
    .default(10_000)
    .describe("a tenant that names no threshold has been idle for long enough by then"),
  idleLookIntervalMs: z.number().int().min(100).default(2000).describe("how often tenants are looked at for idleness"),
  concurrentIdleSuspends: z.number().int().min(1).default(2).describe("suspends for idleness at once"),
  guestHoldBudgetMs: z
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(1_800_000)
    .describe("for how long of an hour a guest is kept awake by its own word alone"),
  wakeLeadMs: z
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(15_000)
    .describe("how long before what its workload has scheduled a suspended tenant is resumed"),
  renewalIntervalMs: z
    .number()
    .int()
    .min(100)
    .default(30_000)
    .describe("how often it is asked which guests' certificates are due, which is at half of their life"),
  workloadLimitMs: z
    .number()
    .int()
    .min(1000)
    .default(60_000)
    .describe("a workload must be healthy by then, unless its image says otherwise"),
  spawnLimitMs: z
    .number()
    .int()
    .min(1000)
    .default(240_000)
    .describe("a whole spawn, waiting in the queue included, beside what the image itself asks for"),
  watchdogIntervalMs: z
    .number()
    .int()
    .min(100)
    .default(5_000)
    .describe("how often a tenant is looked at, about: looks are spread"),
  repairBackoffMs: z
    .number()
    .int()
    .min(100)
    .default(5_000)
    .describe("between the first repair of a tenant and the second; twice as long before the third"),
  failedRetryMs: z
    .number()
    .int()
    .min(100)
    .default(60_000)
    .describe("between two attempts to bring a FAILED tenant back"),
  reconcileIntervalMs: z.number().int().min(100).default(10_000).describe("how often actual and desired are compared"),
});

export type Config = Readonly<z.infer<typeof configSchema>>;
