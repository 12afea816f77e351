/**
 * Keeps the processes of one instance running and hands the machine's loopback ports to it. Started by `up` in a session of
 * its own; it outlives the shell. It never touches a guest: those belong to the launcher, and outlive it too.
 *
 * Usage: node supervisor.ts --instance <name>
 */
import { copyFileSync, statSync, truncateSync } from "node:fs";
import type { Server, Socket } from "node:net";
import { parseArgs } from "node:util";
import { type ControlAnswer, type ControlRequest, serveControl } from "./control.ts";
import { type ForwardTarget, forwardsOf, listenForwards } from "./forwarding.ts";
import { describeInstance, type Instance, isInstanceName } from "./instance.ts";
import { endProcesses } from "./proc.ts";
import { logPath, processNames, processSpecs } from "./processes.ts";
import { recordedProcesses, type SupervisedProcess, superviseProcess } from "./supervised-process.ts";
import { readAccounts } from "./users.ts";

const maxLogBytes = 16 * 1024 * 1024;
const logCheckMs = 5000;

interface Supervisor {
  readonly handle: (request: ControlRequest) => Promise<ControlAnswer>;
  readonly stop: () => Promise<void>;
}

/** Starts every process and serves the control socket until `shutdown`, SIGTERM or SIGINT. */
async function supervise(instance: Instance): Promise<void> {
  // What a supervisor that was killed left running: two of a kind would fight over sockets and stores.
  await endProcesses(recordedProcesses(instance), 5000);
  const accounts = readAccounts();
  const supervised = new Map(
    processSpecs(instance).map((spec) => [spec.name as string, superviseProcess(spec, instance, accounts, note)]),
  );
  const forwards = await listenForwards(forwardsOf(instance), (socket, target) => handOver(supervised, socket, target));
  const rotation = setInterval(() => rotateLogs(instance), logCheckMs);
  const { handle, stop } = control(supervised, forwards);
  const server = await serveControl(instance.controlSocketPath, handle);
  for (const one of supervised.values()) one.start();
  note(`supervising ${instance.name}`);

  let ending = false;
  const end = async (): Promise<void> => {
    if (ending) return;
    ending = true;
    clearInterval(rotation);
    await stop();
    server.close();
    note("all processes ended");
    process.exit(0);
  };
  stopRequested.promise.then(end, fail);
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void end().catch(fail));
}

const stopRequested = Promise.withResolvers<void>();

function control(supervised: ReadonlyMap<string, SupervisedProcess>, forwards: readonly Server[]): Supervisor {
  const report = (): ControlAnswer => ({
    pid: process.pid,
    processes: [...supervised.values()].map((one) => one.report()),
  });
  const find = (name: string): SupervisedProcess => {
    const one = supervised.get(name);
    if (one === undefined)
      throw new Error(`${name} is not a process of this stack: ${[...supervised.keys()].join(", ")}`);
    return one;
  };
  const stop = async (): Promise<void> => {
    for (const server of forwards) server.close();
    await Promise.all([...supervised.values()].map((one) => one.stop()));
  };
  return {
    stop,
    async handle(request) {
      switch (request.verb) {
        case "status":
          return report();
        case "restart":
          await find(request.process).restart();
          return report();
        case "stop":
          await find(request.process).stop();
          return report();
        case "shutdown":
          await stop();
          // After the answer is on its way.
          setImmediate(() => stopRequested.resolve());
          return report();
      }
    },
  };
}

function handOver(supervised: ReadonlyMap<string, SupervisedProcess>, socket: Socket, target: ForwardTarget): void {
  const forwarder = supervised.get("forwarder")?.child();
  // Between two forwarders there is nobody to hand it to; the caller sees a closed connection and tries again.
  if (forwarder?.connected !== true) {
    socket.destroy();
    return;
  }
  forwarder.send(target, socket, {}, (error) => {
    if (error !== null) socket.destroy();
  });
}

/** Keeps one older part of each log. Processes append, so cutting the file off under them loses at most the lines of that moment. */
function rotateLogs(instance: Instance): void {
  for (const name of processNames) {
    const path = logPath(instance, name);
    try {
      if (statSync(path).size <= maxLogBytes) continue;
      copyFileSync(path, `${path}.1`);
      truncateSync(path, 0);
    } catch (error) {
      note(`log of ${name} cannot be rotated: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

function note(line: string): void {
  process.stderr.write(`${new Date().toISOString()} ${line}\n`);
}

function fail(error: unknown): void {
  note(`supervisor failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  process.exit(1);
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { instance: { type: "string" } } });
  if (values.instance === undefined || !isInstanceName(values.instance)) {
    process.stderr.write("usage: node supervisor.ts --instance dev|test|bench\n");
    process.exit(2);
  }
  supervise(describeInstance(values.instance)).catch(fail);
}
