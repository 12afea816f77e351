import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { configFor, type Ground } from "./server-fixture.ts";

export interface ServiceProcess {
  readonly child: ChildProcess;
  /** What it printed so far, at most the last 64 KiB. */
  output(): string;
}

/** Starts `server-fixture-main.ts` and resolves when it serves. The end of the test stops it gracefully. */
export async function startProcess(
  t: TestContext,
  ground: Ground,
  unixPath: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<ServiceProcess> {
  const path = join(ground.directory, "child.json");
  writeFileSync(path, JSON.stringify(configFor(ground, "child", { listen: { unixPath }, shutdownGraceMs: 1000 })));
  const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
  const args = ["--import", file("./telemetry.ts"), file("./server-fixture-main.ts"), "--config", path];
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "pipe", "inherit"],
    env: environment,
  });
  let printed = "";
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
    assert.equal(child.exitCode, 0, "a graceful stop");
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => {
      printed = (printed + chunk.toString()).slice(-65_536);
      if (printed.includes('"serving"')) resolve();
    });
    child.once("exit", (code) => reject(new Error(`server ended with ${code}: ${printed}`)));
  });
  return { child, output: () => printed };
}
