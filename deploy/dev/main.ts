import { existsSync, readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import { issueClient, revokeClient, roleSchema } from "./clients.ts";
import { askSupervisor } from "./control.ts";
import { fetchPrograms, refreshCommand, refreshLock } from "./debian-archive.ts";
import { down } from "./down.ts";
import { UnhealthyError } from "./health.ts";
import { checkoutDir, describeInstance, type Instance, instanceNames, isInstanceName } from "./instance.ts";
import { withSharedLock } from "./lock.ts";
import { installPackages, machinePackages } from "./packages.ts";
import { isProcessName, logPath, processNames } from "./processes.ts";
import { rotate } from "./rotate.ts";
import { requireRoot, supervisorLogPath, up } from "./up.ts";

const usage = `usage: node deploy/dev/main.ts <command> [--instance ${instanceNames.join("|")}] [--foreground]

  up                 start the whole stack and wait until it is healthy; writes .run/env
  down               end it and remove every trace
  status             one line for each process; exit status 1 unless all of them run and the outside is there
  restart <process>  end a process in an orderly way and start it again
  logs <process>     the end of its log
  client <name> --role operator|viewer|owner [--reissue]
                     issue a client certificate, for a year, and give the client that role; --reissue gives a revoked
                     name back to the client that had it
  revoke <name>      take its role and every certificate from a client; its connections end within seconds
  rotate             make every certificate anew, under load if need be; whoever uses one takes the new one within seconds
  packages           install what up would install, and start nothing
  lock               lock the Debian packages that the archive has now (${refreshCommand})

  --instance NAME    which stack, default dev; they share nothing but the users
  --foreground       with up: stay, and take the stack down at Ctrl-C

processes: ${processNames.join(", ")}, supervisor (logs only)
`;

const tailBytes = 64 * 1024;

class UsageError extends Error {}

async function main(): Promise<number> {
  const { values, positionals } = parse();
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const name = values.instance ?? "dev";
  if (!isInstanceName(name)) throw new UsageError(`no instance ${name}: ${instanceNames.join(", ")}`);
  const [command, subject, ...rest] = positionals;
  const takes = new Map([
    ...["restart", "logs"].map((one) => [one, "process"] as const),
    ...["client", "revoke"].map((one) => [one, "name"] as const),
  ]).get(command ?? "");
  if (rest.length > 0 || (subject !== undefined) !== (takes !== undefined)) {
    throw new UsageError(
      takes === undefined ? `${command ?? "a command"} takes nothing else` : `${command} takes one ${takes}`,
    );
  }
  const instance = describeInstance(name);
  switch (command) {
    case "up":
      return startUp(instance, values.foreground === true);
    case "down":
      return takeDown(instance);
    case "status":
      return showStatus(instance);
    case "restart":
      return restart(instance, subject ?? "");
    case "logs":
      return showLog(instance, subject ?? "");
    case "client":
      return giveClient(instance, subject ?? "", values.role, values.reissue);
    case "revoke":
      return takeClient(instance, subject ?? "");
    case "rotate":
      return rotateAll(instance);
    case "packages":
      await installOnly();
      return 0;
    case "lock":
      await refreshLock(checkoutDir, say);
      return 0;
    default:
      throw new UsageError(command === undefined ? "a command is missing" : `no command ${command}`);
  }
}

async function installOnly(): Promise<void> {
  requireRoot();
  await withSharedLock(async () => {
    await installPackages(machinePackages, say);
    await fetchPrograms(checkoutDir, say);
  });
}

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        instance: { type: "string" },
        foreground: { type: "boolean" },
        role: { type: "string" },
        reissue: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

async function startUp(instance: Instance, foreground: boolean): Promise<number> {
  const startedMs = performance.now();
  try {
    const started = await up(instance, say);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    say(started ? `up after ${seconds} s; clients: . ${instance.environmentPath}` : "is up already");
  } catch (error) {
    if (error instanceof UnhealthyError) {
      for (const name of error.unhealthy.keys())
        process.stderr.write(`--- ${name}\n${tail(logPath(instance, name), 20)}`);
    }
    throw error;
  }
  if (!foreground) return 0;
  say("Ctrl-C takes it down");
  await new Promise<void>((resolve) => {
    const idle = setInterval(() => undefined, 60_000);
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => {
        clearInterval(idle);
        resolve();
      });
    }
  });
  return takeDown(instance);
}

async function takeDown(instance: Instance): Promise<number> {
  const left = await down(instance, say);
  if (left.length === 0) {
    say("down, nothing left");
    return 0;
  }
  process.stderr.write(`left over:\n${left.map((line) => `  ${line}\n`).join("")}`);
  return 1;
}

async function giveClient(instance: Instance, name: string, role?: string, reissue = false): Promise<number> {
  requireRoot();
  const parsed = roleSchema.safeParse(role);
  if (!parsed.success) throw new UsageError(`--role is one of ${roleSchema.options.join(", ")}`);
  const { certificatePath, keyPath } = await issueClient(instance, name, parsed.data, { reissue });
  say(`${name} is ${parsed.data}: ${certificatePath} ${keyPath}`);
  return 0;
}

async function takeClient(instance: Instance, name: string): Promise<number> {
  requireRoot();
  const { serialNumbers, isRecorded } = await revokeClient(instance, name);
  say(`revoked: ${serialNumbers.join(", ")}`);
  if (!isRecorded) process.stderr.write("audit is away: the revocation is not recorded\n");
  return isRecorded ? 0 : 1;
}

async function rotateAll(instance: Instance): Promise<number> {
  requireRoot();
  say(`made anew: ${(await rotate(instance)).join(", ")}`);
  return 0;
}

async function showStatus(instance: Instance): Promise<number> {
  const answer = await askSupervisor(instance.controlSocketPath, { verb: "status" });
  if (answer === undefined) {
    say("not up");
    return 1;
  }
  for (const { name, state, pid, restarts, lastEnd } of answer.processes) {
    const end = lastEnd === undefined ? "" : `, last ended with ${lastEnd}`;
    process.stdout.write(
      `${name.padEnd(15)} ${state.padEnd(8)} ${String(pid ?? "-").padStart(7)}  ${restarts} restarts${end}\n`,
    );
  }
  const outside = existsSync(instance.outsideNetnsPath);
  process.stdout.write(`outside is ${outside ? "the namespace" : "missing: no namespace"} ${instance.outsideNetns}\n`);
  return outside && answer.processes.every(({ state }) => state === "running") ? 0 : 1;
}

async function restart(instance: Instance, name: string): Promise<number> {
  const answer = await askSupervisor(instance.controlSocketPath, { verb: "restart", process: name });
  if (answer === undefined) throw new Error(`instance ${instance.name} is not up`);
  say(`${name} restarted, pid ${answer.processes.find((one) => one.name === name)?.pid ?? "unknown"}`);
  return 0;
}

function showLog(instance: Instance, name: string): number {
  if (name !== "supervisor" && !isProcessName(name)) throw new UsageError(`no process ${name}`);
  const path = name === "supervisor" ? supervisorLogPath(instance) : logPath(instance, name);
  if (!existsSync(path)) throw new Error(`${path} does not exist: is the stack up?`);
  process.stdout.write(tail(path, 200));
  return 0;
}

/** The last lines of a file, whatever its size. */
function tail(path: string, lines: number): string {
  if (!existsSync(path)) return "(no log)\n";
  const { size } = statSync(path);
  const bytes = readFileSync(path).subarray(Math.max(0, size - tailBytes));
  return `${bytes.toString("utf8").trimEnd().split("\n").slice(-lines).join("\n")}\n`;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

main().then(
  // Not left to the event loop: a probe's connection that is still closing would hold the process for its time-out.
  (status) => process.exit(status),
  (error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${message}\n${error instanceof UsageError ? usage : ""}`);
    process.exit(error instanceof UsageError ? 2 : 1);
  },
);
