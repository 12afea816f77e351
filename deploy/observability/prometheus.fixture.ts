import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { freePort } from "@lobsterd/chassis/testing-free-port.ts";
import { parse, stringify } from "yaml";
import { programPath } from "../dev/debian-archive.ts";
import { checkoutDir } from "../dev/instance.ts";

const startLimitMs = 30_000;

/** Queries of the committed dashboards, with a window that fits a scrape each second. */
export function dashboardQueries(): readonly { readonly where: string; readonly query: string }[] {
  const directory = join(import.meta.dirname, "grafana/dashboards");
  return readdirSync(directory).flatMap((file) => {
    const { title, panels } = JSON.parse(readFileSync(join(directory, file), "utf8")) as {
      title: string;
      panels: { title: string; targets?: { expr?: string; datasource: { type: string } }[] }[];
    };
    return panels.flatMap((panel) =>
      (panel.targets ?? [])
        .filter(({ datasource }) => datasource.type === "prometheus")
        .map(({ expr = "" }) => ({
          where: `${title}, ${panel.title}`,
          query: expr.replaceAll("$__rate_interval", "1m"),
        })),
    );
  });
}

/** Prometheus as it is provisioned, but for what it scrapes and how often. It ends with the test. */
export async function startPrometheus(context: TestContext, target: string) {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-prometheus-"));
  const provisioned = parse(readFileSync(join(import.meta.dirname, "prometheus/prometheus.yaml"), "utf8"));
  provisioned.global = { scrape_interval: "1s", evaluation_interval: "1s" };
  provisioned.rule_files = [join(import.meta.dirname, "prometheus/alerts.yaml")];
  provisioned.scrape_configs[0].static_configs = [{ targets: [target] }];
  writeFileSync(join(directory, "prometheus.yaml"), stringify(provisioned));
  const address = `127.0.0.1:${await freePort()}`;
  const child = spawn(
    programPath(checkoutDir, "prometheus"),
    [
      `--config.file=${directory}/prometheus.yaml`,
      `--storage.tsdb.path=${directory}/data`,
      `--web.listen-address=${address}`,
      "--log.level=error",
    ],
    { stdio: ["ignore", "ignore", "inherit"], cwd: directory },
  );
  context.after(async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    rmSync(directory, { recursive: true, force: true });
  });
  const isReady = async () => {
    assert.equal(child.exitCode, null, "prometheus ended");
    const answer = await fetch(`http://${address}/-/ready`).catch(() => undefined);
    return answer?.ok === true ? true : undefined;
  };
  await waitFor("prometheus is ready", isReady, { timeoutMs: startLimitMs, intervalMs: 100 });

  async function ask(path: string): Promise<unknown> {
    const answer = await fetch(`http://${address}/api/v1/${path}`, { signal: AbortSignal.timeout(10_000) });
    const body = (await answer.json()) as { status: string; error?: string; data: unknown };
    assert.equal(body.status, "success", `${path}: ${body.error ?? ""}`);
    return body.data;
  }
  return {
    /** How many series the answer has. Fails for a query that Prometheus does not take. */
    async query(query: string): Promise<number> {
      const data = (await ask(`query?${new URLSearchParams({ query })}`)) as { result: unknown[] };
      return data.result.length;
    },
    /** Names of the alerts that are firing or about to. */
    async alerts(): Promise<readonly string[]> {
      const data = (await ask("alerts")) as { alerts: { labels: { alertname: string }; state: string }[] };
      return data.alerts.map(({ labels }) => labels.alertname);
    },
  };
}
