import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { every, type ServiceScope } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger, type Logger } from "@lobsterd/chassis/logger.ts";
import { type RunningServer, startServer } from "@lobsterd/chassis/server.ts";
import { uuidv7 } from "uuidv7";
import { access } from "./access.ts";
import type { Config } from "./config.ts";
import { createLogEvents } from "./events.ts";
import { AuditLog, type LogObserver } from "./log/audit-log.ts";
import { type Checkpointer, createCheckpointer } from "./log/checkpointer.ts";
import { openFileOnDisk } from "./log/file-on-disk.ts";
import type { LogFile } from "./log/log-file.ts";
import { RecordIndex } from "./log/record-index.ts";
import { auditMetrics } from "./metrics.ts";
import { createOwnAuditPolicy } from "./own-audit-policy.ts";
import { createRoutes } from "./routes.ts";
import { openSigningKey, originOf } from "./signing-key.ts";
import { createHashFile } from "./tree/hash-store.ts";
import { MerkleTree } from "./tree/merkle-tree.ts";
import { readNewestFile } from "./witness/newest-file.ts";
import type { Publisher } from "./witness/publisher.ts";
import { createPublishers } from "./witness/publishers.ts";

/** What the RPCs work with. */
export interface AuditContext {
  readonly log: AuditLog;
  readonly checkpointer: Checkpointer;
}

/** Parts that a test may put in place of the real ones. */
export interface Overrides {
  readonly openFile?: (path: string) => Promise<LogFile>;
  /** Ends the process after the log failed. */
  readonly exit?: (status: number) => void;
}

const version = "0.1.0";
const mebibyte = 1024 * 1024;
const reserveIntervalMs = 1000;
const checkpointIntervalMs = 500;
const publishIntervalMs = 1000;

/** Composition root: recovers the log, then starts serving. The socket exists only once the whole log is verified. */
export async function startAudit(
  config: Config,
  scope: ServiceScope,
  overrides: Overrides = {},
): Promise<RunningServer> {
  const logger = createLogger({ service: config.service, level: config.logLevel });
  scope.useLogger(logger);
  const signer = openSigningKey(config.checkpointKeyPath, originOf(config));
  const self = `spiffe://${config.trustDomain}/svc/${config.service}`;
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const index = new RecordIndex(join(config.stateDir, "index.sqlite"));
  const openFile = overrides.openFile ?? openFileOnDisk;
  const events = createLogEvents(logger);
  const tree = new MerkleTree(createHashFile(join(config.stateDir, "tree.hashes")));
  let server: RunningServer | undefined;
  let checkpointer: Checkpointer | undefined;

  const observer: LogObserver = {
    ...events,
    reserveChanged(low, freeBytes) {
      events.reserveChanged(low, freeBytes);
      server?.setServing(!low);
    },
    grew: () => checkpointer?.grew(),
    failed(error) {
      events.failed(error);
      server?.setServing(false);
      // Calls in flight get their refusal. Then a fresh process reads what is durable: this one can no longer know.
      void endProcess(server, overrides.exit ?? process.exit);
    },
  };
  const log = await AuditLog.open({
    file: await openFile(join(config.stateDir, "records.log")),
    ...{ index, tree, self },
    bootId: randomUUID(),
    serviceVersion: version,
    queueLimit: config.appendQueueLimit,
    shareOf: batchShare,
    reserveBytes: config.diskReserveMib * mebibyte,
    now: Date.now,
    newEventId: uuidv7,
    observer,
  });
  scope.onClose(() => log.close());
  const newestPath = join(config.stateDir, "checkpoint.note");
  const publishers = createPublishers(config, newestPath, events);
  const signed = createCheckpointer({
    ...{ tree: () => log.tree(), signer, now: Date.now },
    last: readNewestFile(newestPath),
    signed(note) {
      for (const publisher of publishers) publisher.offer(note);
    },
  });
  checkpointer = signed;
  if (config.witness?.directory === undefined && config.witness?.url === undefined) {
    logger.warn("no witness is configured: whoever owns this host can rewrite the log unseen");
  }

  server = await startServer({
    ...{ config, logger, access },
    routes: createRoutes({ log, checkpointer: signed }),
    audit: createOwnAuditPolicy(log, self, version),
  });
  scope.onClose(() => server.close());
  server.setServing(log.accepting);
  const gauges = showLog({ log, checkpointer: signed }, publishers);
  scope.onClose(() => {
    for (const gauge of gauges) gauge[Symbol.dispose]();
  });
  keepUp({ log, checkpointer: signed }, publishers, { signal: scope.signal, logger });
  return server;
}

/** Shows how the log stands, at each export. */
function showLog({ log, checkpointer }: AuditContext, publishers: readonly Publisher[]): readonly Disposable[] {
  return [
    auditMetrics.waiting.observe(() => log.waiting),
    auditMetrics.records.observe(() => log.tree().size),
    auditMetrics.unsigned.observe(() => log.tree().size - checkpointer.newestSize()),
    auditMetrics.checkpointLag.observe(() =>
      publishers.map((publisher) => [publisher.waitingMs() / 1000, { store: publisher.kind }] as const),
    ),
    auditMetrics.accepting.observe(() => (log.accepting ? 1 : 0)),
  ];
}

/** What audit does by itself, beside answering: sign what is new, bring it to the witness, look how much disk is left. */
function keepUp(
  { log, checkpointer }: AuditContext,
  publishers: readonly Publisher[],
  options: { readonly signal: AbortSignal; readonly logger: Logger },
): void {
  const sign = async (): Promise<void> => void checkpointer.signIfGrown();
  every(checkpointIntervalMs, "sign checkpoint", sign, options);
  for (const publisher of publishers) {
    every(publishIntervalMs, "publish checkpoints", () => publisher.step(options.signal), options);
  }
  every(reserveIntervalMs, "measure disk", () => log.refreshReserve(), options);
}

/** What a person waits for, and what gives rights, goes into a batch before routine work of the network and the routes. */
function batchShare(writer: string): number {
  return /\/svc\/(?:vm|secrets)$/.test(writer) ? 4 : 1;
}

async function endProcess(server: RunningServer | undefined, exit: (status: number) => void): Promise<void> {
  try {
    await server?.close();
  } finally {
    exit(1);
  }
}
