/** One run of `vm`'s lifecycle over a host in memory, for unit tests. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { AuditEntry, AuditSink } from "@lobsterd/chassis/audit.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { createBackupOperations } from "../backups/operations.ts";
import { openBackupParts } from "../backups/parts.ts";
import { type Config, configSchema } from "../config.ts";
import type { TenantEvents } from "../events.ts";
import type { ImageCatalogue } from "../guest/images.ts";
import { openHoldStore } from "../holds/hold-store.ts";
import { createHolds } from "../holds/holds.ts";
import { openIdle } from "../idle/open-idle.ts";
import { createPosture, type HostPosture } from "../posture/posture.ts";
import { openSchedules } from "../schedules/open-schedules.ts";
import { openDrainStore } from "../store/host-drain.ts";
import { openSealedStateStore } from "../store/sealed-states.ts";
import { openSlotStore } from "../store/slots.ts";
import { openTenantStore } from "../store/tenants.ts";
import { createTenantWakes } from "../wakes/tenant-wakes.ts";
import { openWakeStore } from "../wakes/wake-store.ts";
import { createBootQueue } from "./boot-queue.ts";
import { createHostDrain } from "./drain.ts";
import type { FakeHost } from "./fake-host.ts";
import { type Journal, openJournal, type StepObserver } from "./journal.ts";
import { createLifecycle } from "./lifecycle.ts";
import { createTenantOperations } from "./operations.ts";
import type { SpawnWish } from "./plan.ts";

export const config = configSchema.parse({
  service: "vm",
  hostId: "host-1",
  trustDomain: "lobsterd.test",
  domain: "lobsterd.test",
  listen: { unixPath: "/run/rpc.sock" },
  tls: { certificatePath: "/c", keyPath: "/k", platformCaPath: "/ca" },
  stateDir: "/state",
  rolesPath: "/roles",
  revocationsPath: "/revocations",
  imagesDir: "/images",
  launcherSocketPath: "/launcher.sock",
  guestCaPath: "/guest-ca",
  peers: { audit: "/a", net: "/n", proxy: "/p", secrets: "/s" },
  spoolDir: "/spool",
  slotCount: 4,
});

const silent = createLogger({ service: "vm", level: "silent" });

const digests = { vmlinux: "a".repeat(64), "initrd.cpio": "b".repeat(64), "rootfs.erofs": "c".repeat(64) };

export const findBase: ImageCatalogue["find"] = async (name) =>
  name === "base" ? { name, minimumMemoryMib: 128, defaultMemoryMib: 256, sha256: digests } : undefined;

/** A host of which nothing is required. */
const findNothing = createPosture({
  mode: "development",
  look: async () => ({ checkTimeMs: 0, rows: [] }),
  events: {
    hostJudged: () => undefined,
    hostControlFailed: () => undefined,
    hostControlMet: () => undefined,
    hostControlWaived: () => undefined,
  },
  now: () => 0,
  maxAgeMs: 0,
});

export interface RunOptions {
  readonly observe?: StepObserver;
  readonly wrapJournal?: (journal: Journal) => Journal;
  readonly findImage?: ImageCatalogue["find"];
  readonly posture?: HostPosture;
  readonly config?: Partial<Config>;
  /** In place of one that tells what it is given. */
  readonly sink?: AuditSink;
}

/** Starts a run over a host and a store that outlive it. */
export function startRun(host: FakeHost, database: DatabaseSync, options: RunOptions = {}) {
  const { observe, findImage = findBase, posture = findNothing } = options;
  const runConfig = { ...config, ...options.config };
  const clock = { nowMs: 1_000_000, steadyMs: 0 };
  const told: string[] = [];
  const tenants = openTenantStore(database);
  const slots = openSlotStore(database, runConfig.slotCount, runConfig.slotQuarantineMs);
  const drains = openDrainStore(database);
  const now = () => clock.nowMs;
  const sealedStates = openSealedStateStore(database);
  const journal = openJournal({
    database,
    tenants,
    slots,
    sealedStates,
    now,
    ...(observe === undefined ? {} : { observe }),
  });
  const images: ImageCatalogue = { find: findImage, names: async () => ["base"] };
  const bootQueue = createBootQueue(2, options.config?.maxQueuedBoots ?? 8);
  const backups = openBackupParts(database, join(host.directory, "backups"), runConfig, now);
  const { events, record } = listen(told, host.audited);
  const life = createLifecycle({
    ...{ events, record },
    ...{ config: runConfig, logger: silent, tenants, slots, drains, journal, images, bootQueue, now },
    ...{ parts: host.parts, backups, sealedStates, files: host.files, hostFacts: host.facts },
    ...(options.wrapJournal === undefined ? {} : { journal: options.wrapJournal(journal) }),
    posture,
    reportGuestSpans: () => undefined,
    renewals: { issued: () => undefined },
    steadyNow: () => clock.steadyMs,
  });
  const operations = createTenantOperations(life);
  const holds = createHolds(openHoldStore(database), now, silent);
  const wakes = createTenantWakes(life, openWakeStore(database));
  const idle = openIdle({
    ...{ config: runConfig, tenants, holds, parts: host.parts, operations, record, logger: silent },
    now: () => clock.steadyMs,
    wallNow: now,
  });
  const waker = openSchedules({
    ...{ tenants, wakes, record, now, concurrentWakes: runConfig.concurrentWakes, logger: silent },
    sink: options.sink ?? { append: async (entry) => record(entry) },
    steadyNow: () => clock.steadyMs,
  });
  return {
    ...{ idle, holds, operations, waker },
    tenants,
    journal,
    sealedStates,
    clock,
    images,
    bootQueue,
    told,
    posture,
    life,
    drain: createHostDrain(life),
    backups: createBackupOperations(life, operations.spawn),
    backupParts: backups,
    wakes,
  };
}

/** What a call began is told without its cause. */
const by = (cause: string) => (cause === "" || cause === "request" ? "" : ` by ${cause}`);

/** Events and audit records as lines, in the order in which they were told. */
function listen(told: string[], audited: AuditEntry[]) {
  const events: TenantEvents = {
    tenantSpawned: ({ name }) => void told.push(`event spawned ${name}`),
    tenantSpawnFailed: ({ name }, error) => void told.push(`event spawn-failed ${name} ${reasonOf(error) ?? ""}`),
    templateRefused: ({ name }) => void told.push(`event template-refused ${name}`),
    tenantEgressUpdated: ({ name }) => void told.push(`event egress-updated ${name}`),
    tenantUpdated: ({ name }, fields) => void told.push(`event updated ${name} ${fields.join()}`),
    hostDraining: ({ tenants }) => void told.push(`event host-draining ${tenants}`),
    hostUndrained: () => void told.push("event host-undrained"),
    tenantEvicted: ({ name }) => void told.push(`event evicted ${name}`),
    tenantSuspended: ({ name, sleepCause }) => void told.push(`event suspended ${name}${by(sleepCause)}`),
    tenantSuspendFailed: ({ name }, error) => void told.push(`event suspend-failed ${name} ${reasonOf(error) ?? ""}`),
    tenantResumed: ({ name, sleepCause }, isFresh) =>
      void told.push(
        `event resumed ${name}${isFresh ? " fresh" : ""}${sleepCause === "schedule" ? by(sleepCause) : ""}`,
      ),
    tenantWoken: ({ name }, cause) => void told.push(`event woken ${name} ${cause}`),
    tenantResumeFailed: ({ name }, error) => void told.push(`event resume-failed ${name} ${reasonOf(error) ?? ""}`),
    backupCreated: ({ name }) => void told.push(`event backup-created ${name}`),
    backupFailed: ({ name }, error) => void told.push(`event backup-failed ${name} ${reasonOf(error) ?? ""}`),
    backupImported: ({ name }) => void told.push(`event backup-imported ${name}`),
    backupDeleted: ({ name }) => void told.push(`event backup-deleted ${name}`),
    backupRestored: ({ name }) => void told.push(`event backup-restored ${name}`),
    restoreFailed: ({ name }, error) => void told.push(`event restore-failed ${name} ${reasonOf(error) ?? ""}`),
    tenantRepaired: ({ name }, action) => void told.push(`event repaired ${name} ${action}`),
    tenantRepairFailed: ({ name }, action, error) =>
      void told.push(`event repair-failed ${name} ${action} ${reasonOf(error) ?? ""}`),
    tenantHealed: ({ name }) => void told.push(`event healed ${name}`),
    sealedStateRefused: ({ name }, reason) => void told.push(`event sealed-state-refused ${name} ${reason}`),
    tenantFailed: ({ name }, reason) => void told.push(`event failed ${name} ${reason}`),
  };
  const record = (entry: AuditEntry) => {
    const { action, phase, outcome, reason, tenant } = entry;
    audited.push(entry);
    told.push(`record ${action} ${phase} ${outcome} ${reason} ${tenant}`);
  };
  return { events, record };
}

export function wish(name: string): SpawnWish {
  return {
    requestId: randomUUID(),
    name,
    owner: "",
    image: "base",
    resources: { vcpuCount: 0, memoryMib: 0, diskMib: 0 },
    labels: {},
    egress: { mode: "internet" },
    networkLimits: { sentKbits: 0, receivedKbits: 0, sentPackets: 0, receivedPackets: 0 },
    extraHostNames: [],
    idlePolicy: { mode: "manual" },
  };
}
