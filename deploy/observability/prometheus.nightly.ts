/**
 * A real Prometheus scrapes what processes with every declared metric export, by the platform's own exporter and the development receiver, and every
 * query of every dashboard has an answer with something in it.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { fetchPrograms, observabilityLockPath } from "../dev/debian-archive.ts";
import { checkoutDir, serviceNames } from "../dev/instance.ts";
import { startTraceReceiver } from "../dev/trace-receiver.ts";
import { dashboardQueries, startPrometheus } from "./prometheus.fixture.ts";

test("every query of every dashboard shows something of what the services export", {
  timeout: 180_000,
}, async (context) => {
  try {
    await fetchPrograms(checkoutDir, undefined, observabilityLockPath);
  } catch (error) {
    context.skip(`Debian's prometheus cannot be had: ${error instanceof Error ? error.message : String(error)}`);
    return;
  }
  const receiver = await startTraceReceiver({ host: "127.0.0.1", port: 0 });
  context.after(() => receiver.close());
  for (const service of serviceNames) {
    const child = exporter(service, receiver.port);
    context.after(() => end(child));
  }
  const prometheus = await startPrometheus(context, `127.0.0.1:${receiver.port}`);
  const silent = new Map<string, string>();
  await waitFor(
    "an answer to every query",
    async () => {
      silent.clear();
      for (const { where, query } of dashboardQueries()) {
        if ((await prometheus.query(query)) === 0) silent.set(`${where}: ${query}`, "nothing");
      }
      return silent.size === 0 ? true : undefined;
    },
    { timeoutMs: 90_000, intervalMs: 2000 },
  ).catch(() => assert.deepEqual([...silent.keys()], []));
});

function exporter(service: string, port: number): ChildProcess {
  const preload = ["--import", "@lobsterd/chassis/telemetry.ts", join(import.meta.dirname, "every-metric.fixture.ts")];
  return spawn(process.execPath, preload, {
    cwd: import.meta.dirname,
    stdio: "inherit",
    env: {
      PATH: process.env["PATH"],
      OTEL_SERVICE_NAME: service,
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_METRIC_EXPORT_INTERVAL: "1000",
    },
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}
