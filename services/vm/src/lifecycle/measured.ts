import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { otherValue, timed } from "@lobsterd/chassis/metrics.ts";
import { vmMetrics } from "../metrics.ts";
import type { Journal } from "./journal.ts";
import type { TenantOperations } from "./operations.ts";

/** The same operation, timed under `operation`, its failures counted by their reasons. */
export function measured<P extends readonly unknown[], T>(
  operation: string,
  run: (...parameters: P) => Promise<T>,
): (...parameters: P) => Promise<T> {
  return (...parameters) =>
    timed(
      () => run(...parameters),
      (seconds, error) => {
        vmMetrics.operations.record(seconds, { operation, outcome: error === undefined ? "done" : "failed" });
        if (error !== undefined) vmMetrics.failures.add(1, { "error.type": reasonOf(error) ?? otherValue });
      },
    );
}

/** The same operations, each of them timed under its own name: one that is added is measured without a line here. */
export function measuredOperations(operations: TenantOperations): TenantOperations {
  const each = Object.entries(operations).map(([operation, run]) => [operation, measured(operation, run)]);
  return Object.fromEntries(each) as TenantOperations;
}

/** The same journal, its steps timed. */
export function measuredJournal(journal: Journal): Journal {
  return {
    ...journal,
    step: (tenant, step, run) =>
      timed(
        () => journal.step(tenant, step, run),
        (seconds, error) => vmMetrics.steps.record(seconds, { step, outcome: error === undefined ? "done" : "failed" }),
      ),
  };
}
