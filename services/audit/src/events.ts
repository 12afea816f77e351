import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { LogObserver } from "./log/audit-log.ts";
import { auditMetrics } from "./metrics.ts";
import type { PublisherObserver } from "./witness/publisher.ts";

/**
 * What happens to the log: one function per event. They go to the process log and not to the bus: audit stands on nothing but
 * its disk, and none of them is about a tenant.
 */
export function createLogEvents(logger: Logger): Omit<LogObserver, "grew"> & PublisherObserver {
  return {
    recovered({ records, goodBytes, tornBytes, tornBecause }) {
      logger.info({ records, bytes: goodBytes }, "log verified");
      if (tornBytes > 0) logger.warn({ tornBytes, why: tornBecause, records }, "torn tail was cut off the log");
    },
    clockWentBack(byMs) {
      logger.warn({ byMs }, "clock is behind the last record");
    },
    reserveChanged(low, freeBytes) {
      if (low) logger.error({ freeBytes }, "disk is nearly full, appends are refused");
      else logger.info({ freeBytes }, "disk has space again, appends are accepted");
    },
    failed(error) {
      logger.fatal({ err: error }, "log failed, nothing is accepted any more");
    },
    late(store, waitingMs, error) {
      auditMetrics.lateCheckpoints.add(1);
      logger.error({ store, waitingMs, err: error }, "checkpoints do not reach their store");
    },
    caughtUp(store) {
      logger.info({ store }, "checkpoints reach their store again");
    },
  };
}
