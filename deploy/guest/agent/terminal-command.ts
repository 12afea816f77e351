import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Account,
  exitCodeOf,
  hasEnded,
  type NotStarted,
  notStarted,
  type RunningCommand,
  spawnOptions,
} from "./running-command.ts";
import { killSession } from "./session.ts";
import { Terminal, type TerminalSize, unlockTerminalPath } from "./terminal.ts";

/** util-linux: a new session whose controlling terminal is standard input; what it cannot run it says as shells do. */
const setsid = "/usr/bin/setsid";
const defaultType = "xterm";
/** Between a hang-up and the end: an editor writes what was not saved. */
const hangUpGraceMs = 1_000;

export type TerminalWish = { readonly size: TerminalSize; readonly type: string };

/** Runs a command as the leader of a session of its own, with a terminal. Rejects when there is no terminal to be had. */
export async function startOnTerminal(
  account: Account,
  command: readonly string[],
  { size, type }: TerminalWish,
  unlockPath: string = unlockTerminalPath,
): Promise<RunningCommand | NotStarted> {
  const { env, ...options } = spawnOptions(account);
  const { terminal, used } = await Terminal.open(size, unlockPath, async (slave) => {
    try {
      const child = spawn(setsid, ["--ctty", "--", ...command], {
        ...options,
        env: { ...env, TERM: type || defaultType },
        stdio: [slave, slave, slave],
      });
      const killRest = () => {
        if (child.pid !== undefined) killSession(child.pid);
      };
      const exited = exitCodeOf(child, killRest);
      await once(child, "spawn");
      return { child, killRest, exited };
    } catch (error) {
      return notStarted(error);
    }
  });
  if ("message" in used) {
    terminal.close();
    return used;
  }
  const { child, killRest, exited } = used;
  let ending: Promise<void> | undefined;
  const end = async () => {
    terminal.close();
    if (hasEnded(child)) return;
    await Promise.race([exited, delay(hangUpGraceMs)]);
    if (hasEnded(child)) return;
    child.kill("SIGKILL"); // which may not have its session yet
    killRest();
    await exited;
  };
  return {
    input: terminal.input,
    outputs: { stdout: terminal.output },
    exited,
    resize: (next) => terminal.resize(next),
    end: () => {
      ending ??= end();
      return ending;
    },
  };
}
