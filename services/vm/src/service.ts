import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type AgentTokens, openAgentTokens } from "@lobsterd/chassis/agent-tokens.ts";
import {
  type AuditEntry,
  type AuditSink,
  type AuditSpool,
  createAuditClient,
  openAuditSpool,
  ownOutcome,
  recordRuns,
} from "@lobsterd/chassis/audit.ts";
import { openAuditCalls } from "@lobsterd/chassis/audit-open-calls.ts";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { connectEvents } from "@lobsterd/chassis/events.ts";
import { openForeignSpans } from "@lobsterd/chassis/foreign-spans.ts";
import { openRequestLog, type RequestLog } from "@lobsterd/chassis/idempotency.ts";
import { every, type ServiceScope } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger, type Logger } from "@lobsterd/chassis/logger.ts";
import { type RunningServer, startServer } from "@lobsterd/chassis/server.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { RouteService } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { access } from "./access.ts";
import { createAuditPolicy } from "./audit-policy.ts";
import { type BackupOperations, createBackupOperations } from "./backups/operations.ts";
import { openBackupParts } from "./backups/parts.ts";
import type { Config } from "./config.ts";
import { createHostEvents, createTenantEvents } from "./events.ts";
import { type GuestAgents, openGuestAgents } from "./guest/agent.ts";
import { type ImageCatalogue, openImageCatalogue } from "./guest/images.ts";
import { createRenewals } from "./guest/renewals.ts";
import { reportGuestSpans } from "./guest/spans.ts";
import { openHoldStore } from "./holds/hold-store.ts";
import { createHolds, type Holds } from "./holds/holds.ts";
import { showHost } from "./host-gauges.ts";
import type { IdleDetector } from "./idle/detector.ts";
import { openIdle } from "./idle/open-idle.ts";
import { type BootQueue, createBootQueue } from "./lifecycle/boot-queue.ts";
import { readConnectionMax } from "./lifecycle/capacity.ts";
import { createHostDrain, type HostDrain } from "./lifecycle/drain.ts";
import type { HostParts } from "./lifecycle/host-parts.ts";
import { openJournal, type StepObserver } from "./lifecycle/journal.ts";
import { createLifecycle } from "./lifecycle/lifecycle.ts";
import { readHostFacts } from "./lifecycle/machine-facts.ts";
import { measured, measuredJournal, measuredOperations } from "./lifecycle/measured.ts";
import { createTenantOperations, type TenantOperations } from "./lifecycle/operations.ts";
import { openSleepFiles, requireTmpfs, type SleepFiles } from "./lifecycle/sleep-files.ts";
import { tenantOwnership } from "./ownership.ts";
import { openPosture } from "./posture/open-posture.ts";
import type { HostPosture } from "./posture/posture.ts";
import { createWatchdog } from "./repair/watchdog.ts";
import { createRoutes } from "./routes.ts";
import { openSchedules } from "./schedules/open-schedules.ts";
import { openDrainStore } from "./store/host-drain.ts";
import { migrations } from "./store/schema.ts";
import { openSealedStateStore } from "./store/sealed-states.ts";
import { openSlotStore } from "./store/slots.ts";
import { openTenantChanges, type TenantChanges } from "./store/tenant-changes.ts";
import { openTenantStore, type TenantStore } from "./store/tenants.ts";
import { type LaunchedVmm, openVmmByLauncher } from "./vmm/by-launcher.ts";
import { openLauncherClient } from "./vmm/launcher-client.ts";
import type { VmmPort } from "./vmm/port.ts";
import { createTenantWakes, type TenantWakes } from "./wakes/tenant-wakes.ts";
import { openWakeStore } from "./wakes/wake-store.ts";

/** What the RPCs work with. */
export interface VmContext {
  readonly config: Config;
  readonly tenants: TenantStore;
  readonly changes: TenantChanges;
  readonly operations: TenantOperations;
  readonly backups: BackupOperations;
  readonly wakes: TenantWakes;
  readonly requests: RequestLog;
  readonly bootQueue: BootQueue;
  readonly images: ImageCatalogue;
  readonly vmm: VmmPort;
  readonly files: Pick<SleepFiles, "sealedBytes">;
  readonly guests: GuestAgents;
  readonly posture: HostPosture;
  readonly holds: Holds;
  readonly idle: Pick<IdleDetector, "viewOf">;
  readonly drain: HostDrain;
}

/** Parts that a story across services may put in place of the real ones. */
export interface Overrides {
  readonly observeSteps?: StepObserver;
}

/** How long a spawn may take, waiting in the queue included; what a caller may ask for instead is bounded by the configuration. */
const slowCallsMs = 240_000;
/** No wake is later than this; see `schedules/waker.ts`. */
const wakeIntervalMs = 1000;
/** A watch, a log that is followed, or a command. */
const streamsMs = 4 * 3_600_000;

/** Composition root: makes everything once and starts serving. */
export async function startVm(config: Config, scope: ServiceScope, overrides: Overrides = {}): Promise<RunningServer> {
  const logger = createLogger({ service: config.service, level: config.logLevel });
  scope.useLogger(logger);
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const database = openDatabase(join(config.stateDir, "vm.sqlite"), migrations);
  scope.onClose(() => database.close());
  const tenants = openTenantStore(database);
  const slots = openSlotStore(database, config.slotCount, config.slotQuarantineMs);
  const bus = config.events === undefined ? undefined : await connectEvents({ config, logger });
  scope.onClose(() => bus?.close());
  const { sink, spool } = openAudit(config, database, logger, scope);
  const openCalls = openAuditCalls(database, spool, logger);
  scope.onClose(() => openCalls.close());
  const record = (entry: AuditEntry) =>
    void spool.append(entry).catch((error: unknown) =>
      // As for a call: the last place that can hold the record is the log.
      logger.error({ err: error, record: entry }, "audit record could not be kept"),
    );
  const vmm = openVmmByLauncher(openLauncherClient({ socketPath: config.launcherSocketPath }), {
    onUnresponsive: reportUnresponsive(tenants, record, logger),
    onEnded: (vmId, { log, serial, metrics }) =>
      logger.info({ vmId, log: log.tail(5), serial: serial.tail(5), ...metrics }, "a VMM ended"),
  });
  scope.onClose(() => vmm.close());
  const tokens = openAgentTokens(join(config.stateDir, "agent-token.key"));
  const parts = connectParts(config, vmm, tokens);
  scope.onClose(() => parts.guests.close());

  const images = openImageCatalogue(config.imagesDir);
  const bootQueue = createBootQueue(config.concurrentBoots, config.maxQueuedBoots);
  const observe = overrides.observeSteps;
  const sealedStates = openSealedStateStore(database);
  requireTmpfs(config.spoolDir);
  const files = openSleepFiles(join(config.stateDir, "sealed"), config.spoolDir);
  const journal = openJournal({
    ...{ database, tenants, slots, sealedStates },
    now: Date.now,
    ...(observe === undefined ? {} : { observe }),
  });
  const events = createTenantEvents(bus, logger, record);
  const drains = openDrainStore(database);
  const posture = openPosture(config, parts, createHostEvents(bus, logger, record));
  const renewals = createRenewals({ ...parts, logger, now: Date.now });
  const life = createLifecycle({
    ...{ config, logger, tenants, slots, drains, images, bootQueue, parts, events, posture, record },
    ...{ sealedStates, files, hostFacts: readHostFacts() },
    journal: measuredJournal(journal),
    backups: openBackupParts(database, join(config.stateDir, "backups"), config, Date.now),
    reportGuestSpans: reportGuestSpans(openForeignSpans("agent")),
    renewals,
    now: Date.now,
    steadyNow: () => performance.now(),
  });
  const operations = measuredOperations(createTenantOperations(life));
  const backups = createBackupOperations(life, operations.spawn);
  const holds = createHolds(openHoldStore(database), Date.now, logger);
  const anyWakes = createTenantWakes(life, openWakeStore(database));
  // Once for all who wake: requests and schedules.
  const wakes = { ...anyWakes, wake: measured("wake", anyWakes.wake) };
  const idle = openIdle({
    ...{ config, tenants, holds, parts, operations, record, logger },
    now: () => performance.now(),
    wallNow: Date.now,
    hasRunEnough: ({ vmId }) => wakes.mayRest(vmId),
  });
  const waker = openSchedules({
    ...{ tenants, wakes, sink, record, logger, concurrentWakes: config.concurrentWakes },
    ...{ now: Date.now, steadyNow: () => performance.now() },
  });
  const drain = createHostDrain(life);
  const watchdog = createWatchdog(life, { ...config, spreadMs: config.watchdogIntervalMs / 2 });
  const requests = openRequestLog(database);
  const context: VmContext = {
    config,
    tenants,
    changes: openTenantChanges(database),
    operations,
    backups: {
      ...backups,
      create: measured("backup", backups.create),
      restore: measured("restore", backups.restore),
    },
    wakes,
    requests,
    bootQueue,
    images,
    vmm: parts.vmm,
    files,
    guests: parts.guests,
    posture,
    ...{ holds, idle },
    drain,
  };

  const gauges = showHost({ ...context, parts });
  scope.onClose(() => {
    for (const gauge of gauges) gauge[Symbol.dispose]();
  });
  every(config.reconcileIntervalMs, "attach to running microVMs", () => vmm.attachRunning(), {
    signal: scope.signal,
    logger,
  });
  every(config.reconcileIntervalMs, "reconcile", () => operations.reconcile(), { signal: scope.signal, logger });
  // With the time over which its looks are spread that is one look an interval.
  every(config.watchdogIntervalMs / 2, "watchdog", () => watchdog.sweep(), { signal: scope.signal, logger });
  every(config.reconcileIntervalMs, "drain", () => drain.run(), { signal: scope.signal, logger });
  every(config.postureIntervalMs, "posture", async () => void (await posture.check()), {
    signal: scope.signal,
    logger,
  });
  every(config.renewalIntervalMs, "renew identities", () => renewals.run(life, scope.signal), {
    signal: scope.signal,
    logger,
  });
  every(config.idleLookIntervalMs, "look for idle tenants", () => idle.look(scope.signal), {
    signal: scope.signal,
    logger,
  });
  every(wakeIntervalMs, "wake tenants for their schedules", async () => waker.wakeDue(), {
    signal: scope.signal,
    logger,
  });
  /** A disk may have to wait for others, and a restored tenant boots after it. */
  const backupsMs = 2 * config.backupLimitMs + slowCallsMs;
  const server = await startServer({
    config,
    logger,
    routes: createRoutes(context),
    access,
    audit: { ...createAuditPolicy(sink, spool), openCalls },
    ownership: tenantOwnership(tenants, journal),
    methodDeadlinesMs: {
      ...{ SpawnTenant: slowCallsMs, EvictTenant: slowCallsMs, SuspendTenant: slowCallsMs, ResumeTenant: slowCallsMs },
      ...{ CreateBackup: backupsMs, RestoreBackup: backupsMs, ExportBackup: backupsMs, ImportBackup: backupsMs },
      ...{ WakeTenant: slowCallsMs, RepairTenant: slowCallsMs },
      ...{ WatchTenants: streamsMs, StreamTenantLogs: streamsMs, ExecTenant: streamsMs },
    },
  });
  scope.onClose(() => server.close());
  return server;
}

/** Nobody asked for the end of a VMM that does not answer: the record of it is this service's own. What follows is the reconciler's. */
function reportUnresponsive(tenants: TenantStore, record: (entry: AuditEntry) => void, logger: Logger) {
  return (vmId: string, error: unknown): void => {
    const { name = "", generation = 0 } = tenants.findByVm(vmId) ?? {};
    logger.error({ err: error, tenant: name, vmId }, "a VMM did not answer");
    const outcome = error instanceof AggregateError ? "failure" : "success";
    record(
      ownOutcome({
        action: "KillMicroVm",
        tenant: name,
        resource: vmId,
        generation,
        outcome,
        reason: "VMM_UNRESPONSIVE",
      }),
    );
  };
}

function connectParts(config: Config, vmm: LaunchedVmm, tokens: AgentTokens): HostParts {
  const tls = { ...config.tls, trustDomain: config.trustDomain };
  const { peers } = config;
  return {
    vmm,
    net: createServiceClient(NetworkService, { service: "net", unixPath: peers.net }, tls),
    proxy: createServiceClient(RouteService, { service: "proxy", unixPath: peers.proxy }, tls),
    secrets: createServiceClient(SecretService, { service: "secrets", unixPath: peers.secrets }, tls, {
      timeoutMs: 30_000,
    }),
    audit: createServiceClient(AuditService, { service: "audit", unixPath: peers.audit }, tls),
    readConnectionMax,
    guests: openGuestAgents({ ...tls, guestCaPath: config.guestCaPath, tokens }),
  };
}

function openAudit(
  config: Config,
  database: ReturnType<typeof openDatabase>,
  logger: Logger,
  scope: ServiceScope,
): { sink: AuditSink; spool: AuditSpool } {
  const sink = createAuditClient({
    peer: { service: "audit", unixPath: config.peers.audit },
    tls: { ...config.tls, trustDomain: config.trustDomain },
  });
  const spool = openAuditSpool(database, sink, logger);
  scope.onClose(() => spool.close());
  recordRuns(spool, scope, logger);
  return { sink, spool };
}
