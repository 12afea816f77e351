import { spawn } from "node:child_process";
import { once } from "node:events";
import { createProcessRunner, type ProcessRunner } from "../../../services/net/src/host/process.ts";
import type { ActorVerbs } from "./actor.ts";
import { type Sniffer, startSniffer } from "./sniffer.ts";

/** A network namespace that a story looks into. */
export interface Vantage {
  readonly runner: ProcessRunner;
  readonly sniffer: Sniffer;
}

export async function openVantage(path: string): Promise<Vantage> {
  return { runner: createProcessRunner(path), sniffer: await startSniffer(path) };
}

export type Actor = ActorVerbs & { close(): Promise<void> };

const actorFile = new URL("./actor.ts", import.meta.url).pathname;

/** Starts a process in the network namespace at `path` that does what it is told. */
export async function startActor(path: string): Promise<Actor> {
  const child = spawn("nsenter", [`--net=${path}`, "--", process.execPath, actorFile], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const waiting = new Map<number, (result: unknown) => void>();
  let last = 0;
  child.on("message", ({ id, result }: { id: number; result: unknown }) => {
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
  await new Promise((resolve) => waiting.set(0, resolve));
  const tell = <V extends keyof ActorVerbs>(verb: V): ActorVerbs[V] =>
    ((parameters: unknown) =>
      new Promise((resolve) => {
        const id = ++last;
        waiting.set(id, resolve);
        child.send({ id, verb, parameters });
      })) as unknown as ActorVerbs[V];
  return {
    echo: tell("echo"),
    connectAll: tell("connectAll"),
    async close() {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}
