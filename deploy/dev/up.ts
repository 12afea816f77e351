import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { askSupervisor, type ControlAnswer } from "./control.ts";
import { fetchPrograms } from "./debian-archive.ts";
import { writeEnvironment } from "./environment.ts";
import { forwardsOf, requireFreePorts } from "./forwarding.ts";
import { probesOf, waitForHealth } from "./health.ts";
import { installImages } from "./images.ts";
import type { Instance } from "./instance.ts";
import { prepareLayout } from "./layout.ts";
import { withLock, withSharedLock } from "./lock.ts";
import { ensureNamespace } from "./network.ts";
import { installPackages, machinePackages } from "./packages.ts";
import type { ProcessName } from "./processes.ts";
import { grantTunDevice } from "./tun-device.ts";
import { createUsers, readAccounts } from "./users.ts";

const healthLimitMs = 60_000;
const supervisorLimitMs = 15_000;

export type Progress = (line: string) => void;

/** Brings the instance up and returns when every process is healthy. Returns `false` if it was up already. */
export async function up(instance: Instance, progress: Progress): Promise<boolean> {
  requireRoot();
  return withLock(instance.name, async () => {
    if ((await askSupervisor(instance.controlSocketPath, { verb: "status" })) !== undefined) {
      await awaitHealth(instance, progress);
      writeEnvironment(instance);
      return false;
    }
    await requireFreePorts(forwardsOf(instance));
    await prepare(instance, progress);
    await startSupervisor(instance);
    progress("processes started");
    await awaitHealth(instance, progress);
    writeEnvironment(instance);
    return true;
  });
}

/** Everything that has to exist before the first process starts. Safe to repeat. */
export async function prepare(instance: Instance, progress: Progress): Promise<void> {
  // The machine has one package database and one user database, whatever the instance.
  await withSharedLock(async () => {
    await installPackages(machinePackages, progress);
    await fetchPrograms(instance.checkout, progress);
    const created = await createUsers();
    if (created.length > 0) progress(`users created: ${created.join(", ")}`);
    if (grantTunDevice(readAccounts().account("lobsterd-net"))) progress("/dev/net/tun opened to lobsterd-net");
  });
  await prepareLayout(instance, readAccounts(), progress);
  await ensureNamespace(instance);
  const images = await installImages(instance);
  if (images.length > 0) progress(`guest images installed: ${images.join(", ")}`);
}

async function startSupervisor(instance: Instance): Promise<void> {
  const log = openSync(supervisorLogPath(instance), "a", 0o600);
  const script = fileURLToPath(new URL("./supervisor.ts", import.meta.url));
  const child = spawn(
    process.execPath,
    ["--disable-sigusr1", "--report-exclude-env", script, "--instance", instance.name],
    {
      cwd: "/",
      env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
      stdio: ["ignore", log, log],
      detached: true,
    },
  );
  closeSync(log);
  const ended = new Promise<never>((_, reject) => {
    child.once("error", reject);
    child.once("exit", (status, signal) => {
      const how = signal ?? `status ${status}`;
      reject(new Error(`the supervisor ended at once (${how}); its log is ${supervisorLogPath(instance)}`));
    });
  });
  // Raced below; without this a supervisor that ends later would count as an unhandled rejection.
  ended.catch(() => undefined);
  await Promise.race([ended, supervisorAnswers(instance)]);
  child.unref();
}

async function supervisorAnswers(instance: Instance): Promise<ControlAnswer> {
  const deadline = performance.now() + supervisorLimitMs;
  for (;;) {
    const answer = existsSync(instance.controlSocketPath)
      ? await askSupervisor(instance.controlSocketPath, { verb: "status" })
      : undefined;
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`the supervisor did not answer within ${supervisorLimitMs} ms`);
    await delay(50);
  }
}

/** Waits until every process of a supervised instance is healthy. */
export async function awaitHealth(instance: Instance, progress: Progress): Promise<void> {
  let answer = await askSupervisor(instance.controlSocketPath, { verb: "status" });
  const refresh = setInterval(() => {
    askSupervisor(instance.controlSocketPath, { verb: "status" }).then(
      (next) => {
        answer = next;
      },
      // The probes that need a pid go on failing, and say so.
      () => undefined,
    );
  }, 500);
  const pidOf = (name: ProcessName) => answer?.processes.find((one) => one.name === name)?.pid;
  try {
    await waitForHealth(probesOf(instance, pidOf), { limitMs: healthLimitMs, progress });
  } finally {
    clearInterval(refresh);
  }
}

export function supervisorLogPath(instance: Instance): string {
  return `${instance.runDir}/log/supervisor.log`;
}

export function requireRoot(): void {
  if (process.getuid?.() !== 0) throw new Error("the stack is started as root: it makes users, mounts and namespaces");
}
