import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { every, type ServiceScope } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { type RunningServer, startServer } from "@lobsterd/chassis/server.ts";
import { uuidv7 } from "uuidv7";
import { access } from "./access.ts";
import type { Config } from "./config.ts";
import { createLogEvents } from "./events.ts";
import { AuditLog, type LogObserver } from "./log/audit-log.ts";
import { openFileOnDisk } from "./log/file-on-disk.ts";
import type { LogFile } from "./log/log-file.ts";
import { RecordIndex } from "./log/record-index.ts";
import { createRoutes } from "./routes.ts";

/** What the RPCs work with. */
export interface AuditContext {
  readonly log: AuditLog;
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

/** Composition root: recovers the log, then starts serving. The socket exists only once the whole log is verified. */
export async function startAudit(
  config: Config,
  scope: ServiceScope,
  overrides: Overrides = {},
): Promise<RunningServer> {
  const logger = createLogger({ service: config.service, level: config.logLevel });
  scope.useLogger(logger);
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const index = new RecordIndex(join(config.stateDir, "index.sqlite"));
  const openFile = overrides.openFile ?? openFileOnDisk;
  const events = createLogEvents(logger);
  let server: RunningServer | undefined;

  const observer: LogObserver = {
    ...events,
    reserveChanged(low, freeBytes) {
      events.reserveChanged(low, freeBytes);
      server?.setServing(!low);
    },
    failed(error) {
      events.failed(error);
      server?.setServing(false);
      // Calls in flight get their refusal. Then a fresh process reads what is durable: this one can no longer know.
      void endProcess(server, overrides.exit ?? process.exit);
    },
  };
  const log = await AuditLog.open({
    file: await openFile(join(config.stateDir, "records.log")),
    index,
    self: `spiffe://${config.trustDomain}/svc/${config.service}`,
    bootId: randomUUID(),
    serviceVersion: version,
    queueLimit: config.appendQueueLimit,
    reserveBytes: config.diskReserveMib * mebibyte,
    now: Date.now,
    newEventId: uuidv7,
    observer,
  });
  scope.onClose(() => log.close());

  server = await startServer({ config, logger, routes: createRoutes({ log }), access });
  scope.onClose(() => server.close());
  server.setServing(log.accepting);
  every(reserveIntervalMs, "measure disk", () => log.refreshReserve(), { signal: scope.signal, logger });
  return server;
}

async function endProcess(server: RunningServer | undefined, exit: (status: number) => void): Promise<void> {
  try {
    await server?.close();
  } finally {
    exit(1);
  }
}
