import { createProcessRunner } from "@lobsterd/net/host/process.ts";
import { median } from "../statistics.ts";
import { ask, type Speaker, start } from "./traffic.ts";

const ports = { echo: 7001, deaf: 7002, drain: 7003 } as const;
const roundTrips = 2000;
const blastMs = 600;
const pourMs = 800;

/** From a guest, by way of its host, to somebody outside. Both are namespaces whose link is `eth0`. */
export interface DataPath {
  readonly guestPath: string;
  readonly farPath: string;
  readonly farAddress: string;
}

/** What one round over a path came to. */
export interface Traffic {
  readonly roundTripMicros: number;
  readonly packetsPerSecond: number;
  readonly megabitsPerSecond: number;
}

/** A path with whoever answers at its far end. */
export interface OpenPath {
  measure(): Promise<Traffic>;
  close(): Promise<void>;
}

export async function openPath({ guestPath, farPath, farAddress }: DataPath): Promise<OpenPath> {
  const guest = createProcessRunner(guestPath);
  const far = createProcessRunner(farPath);
  // One frame for each segment, as on a wire, so that the rules are paid for each of them.
  await guest.run(["ip", "link", "set", "dev", "eth0", "gso_max_segs", "1"]);
  const echo = await ready(start("echo", farPath, "-", ports.echo));
  const deaf = await ready(start("deaf", farPath, "-", ports.deaf));
  const drain = await ready(start("drain", farPath, "-", ports.drain));
  const received = async (): Promise<number> => {
    const counters = /^\s*eth0:\s*\d+\s+(\d+)/m.exec(await far.run(["cat", "/proc/net/dev"]))?.[1];
    return Number(counters);
  };
  return {
    async measure() {
      const took = (await ask("ping", guestPath, farAddress, ports.echo, roundTrips)).split(" ").map(Number);
      const before = await received();
      const blastedMs = Number(await ask("blast", guestPath, farAddress, ports.deaf, blastMs));
      const packets = (await received()) - before;
      await ask("pour", guestPath, farAddress, ports.drain, pourMs);
      const [bytes = 0, drainedMs = 1] = (await drain.line()).split(" ").map(Number);
      return {
        roundTripMicros: median(took),
        packetsPerSecond: (packets / blastedMs) * 1000,
        megabitsPerSecond: (bytes * 8) / 1000 / drainedMs,
      };
    },
    async close() {
      await Promise.all([echo, deaf, drain].map((speaker) => speaker.stop()));
    },
  };
}

async function ready(speaker: Speaker): Promise<Speaker> {
  await speaker.line();
  return speaker;
}
