import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { type LauncherClient, openLauncherClient } from "../vmm/launcher-client.ts";
import type { LauncherTestHost } from "./testing.ts";

/** The launcher's capability set; whatever it does under test it does with no more. */
const capabilities = "sys_admin sys_chroot mknod chown fowner dac_override setuid setgid setpcap kill".split(" ");

/** A launcher in a process of its own, and a client of it. */
export interface Launcher {
  readonly process: ChildProcess;
  readonly port: LauncherClient;
}

/** Starts `main` as the deployment does: exactly its capabilities, no new privileges, an empty network namespace. */
export async function startLauncher({ config }: LauncherTestHost, main = "main.ts"): Promise<Launcher> {
  const file = `${config.runDir}/launcher.json`;
  writeFileSync(file, JSON.stringify(config), { mode: 0o400 });
  const child = spawn(
    "unshare",
    [
      ...["--net", "setpriv", "--no-new-privs", "--inh-caps=-all", "--clear-groups"],
      `--bounding-set=-all,${capabilities.map((name) => `+${name}`).join(",")}`,
      ...["--", process.execPath, `${import.meta.dirname}/${main}`, "--config", file],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const port = openLauncherClient({ socketPath: config.socketPath });
  const ended = once(child, "exit").then(([code, signal]) => {
    throw new Error(`the launcher ended: ${code ?? signal}`);
  });
  ended.catch(() => {});
  const ready = waitFor("the launcher's socket", () => port.describe().catch(() => undefined), {
    timeoutMs: 15_000,
    intervalMs: 20,
  });
  await Promise.race([ready, ended]);
  return { process: child, port };
}

/** Ends it and waits for its end; guests stay. */
export async function stopLauncher(launcher: Launcher, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  launcher.process.kill(signal);
  await once(launcher.process, "exit");
}
