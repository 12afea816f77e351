/** A person's terminal, which runs `lobster` on the stack under test. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import { checkout } from "../client/stack-env.ts";
import { env, eventually } from "./subject.ts";

const run = promisify(execFile);
/** However a test ends, its terminal does. */
const longestSeconds = 600;

export const cliMain = join(checkout, "deploy/cli/main.ts");

export interface Terminal {
  tmux(...parameters: string[]): Promise<string>;
  /** What it shows now. */
  screen(): Promise<string>;
  /** What matches, once it is shown. */
  shown(pattern: RegExp, limitMs?: number): Promise<string>;
}

/** Runs a shell script in a terminal of its own; `undefined` where there is none to be had, and the test is skipped. */
export async function inTerminal(t: TestContext, script: string): Promise<Terminal | undefined> {
  if (!(await hasTmux())) {
    t.skip("tmux is not installed");
    return undefined;
  }
  const socket = `lobster-story-${process.pid}`;
  const tmux = async (...parameters: string[]) =>
    (await run("tmux", ["-L", socket, ...parameters], { env: { ...process.env, ...env }, timeout: 10_000 })).stdout;
  await tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "8", `${script}; exec sleep ${longestSeconds}`);
  t.after(() => tmux("kill-server"));
  const screen = () => tmux("capture-pane", "-p");
  const shown = (pattern: RegExp, limitMs = 20_000) =>
    eventually(String(pattern), limitMs, async () => pattern.exec(await screen())?.[0] || undefined);
  return { tmux, screen, shown };
}

/** `exec -it`, then its status, and whether the terminal is as it was before. */
export function execInTerminal(tenant: string, words: string, wrapper = ""): string {
  return `state=$(stty -g); ${wrapper}'${process.execPath}' '${cliMain}' exec -it ${tenant} ${words};
  echo "status=$?"; test "$(stty -g)" = "$state" && echo restored`;
}

const hasTmux = () =>
  run("tmux", ["-V"]).then(
    () => true,
    () => false,
  );
