import { spawn } from "node:child_process";
import { once } from "node:events";
import { signalGroup } from "./process-group.ts";
import {
  type Account,
  exitCodeOf,
  hasEnded,
  type NotStarted,
  notStarted,
  type RunningCommand,
  spawnOptions,
} from "./running-command.ts";

/** Runs a command with pipes. */
export async function startOnPipes(account: Account, command: readonly string[]): Promise<RunningCommand | NotStarted> {
  const [program = "", ...rest] = command;
  try {
    const child = spawn(program, rest, {
      ...spawnOptions(account),
      stdio: ["pipe", "pipe", "pipe"],
      // Its own session and process group: ending reaches whatever it forked.
      detached: true,
    });
    const killGroup = () => {
      if (child.pid !== undefined) signalGroup(child.pid, "SIGKILL");
    };
    const exited = exitCodeOf(child, killGroup);
    await once(child, "spawn");
    const end = async () => {
      if (!hasEnded(child)) killGroup();
      child.stdout.destroy();
      child.stderr.destroy();
    };
    return { input: child.stdin, outputs: { stdout: child.stdout, stderr: child.stderr }, exited, end };
  } catch (error) {
    return notStarted(error);
  }
}
