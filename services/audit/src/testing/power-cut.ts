import { type DiskFaults, SimulatedDisk } from "./simulated-disk.ts";
import { draft, eventIdsOf, openTestLog, seededRandom, writer } from "./test-log.ts";

/** What a machine that lost power over and over had promised, and which of it was gone or doubled afterwards. */
export type PowerCutReport = {
  readonly acknowledged: number;
  readonly lost: readonly string[];
  readonly doubled: number;
  /** A start that failed counts as the loss of everything. */
  readonly refusedStarts: number;
};

// The power goes within 20 fsyncs, each of which covers every writer: a log that appends more has none.
const maxAppendsPerLife = 1000;

/**
 * Runs `rounds` lives of one log on a simulated disk. In each, `writers` append until the power goes at a random fsync; then
 * the log starts on what is left. The same seed gives the same run.
 */
export async function cutPower(options: {
  seed: number;
  rounds: number;
  writers: number;
  faults?: DiskFaults;
}): Promise<PowerCutReport> {
  const random = seededRandom(options.seed);
  const acknowledged = new Set<string>();
  let disk = new SimulatedDisk({ ...options.faults });
  let number = 0;
  let doubled = 0;
  for (let round = 0; round < options.rounds; round += 1) {
    const opened = await openTestLog(disk).catch(() => undefined);
    if (opened === undefined)
      return { acknowledged: acknowledged.size, lost: [...acknowledged], doubled, refusedStarts: 1 };
    const { log } = opened;
    const power = powerSwitch(disk, random);
    const lastNumber = number + maxAppendsPerLife;
    const appendUntilCut = async (): Promise<void> => {
      while (power.on()) {
        if (number === lastNumber) throw new Error("the log never syncs its file");
        number += 1;
        const one = draft(number);
        await log.append(one, writer);
        // A receipt that comes after the power went reached nobody.
        if (power.on()) acknowledged.add(one.eventId);
      }
    };
    await Promise.all(Array.from({ length: options.writers }, appendUntilCut));
    disk = power.remains();
  }
  const { log } = await openTestLog(disk);
  const found = await eventIdsOf(log);
  doubled = found.length - new Set(found).size;
  const present = new Set(found);
  const lost = [...acknowledged].filter((id) => !present.has(id));
  return { acknowledged: acknowledged.size, lost, doubled, refusedStarts: 0 };
}

/** Cuts the power at a random one of the next fsyncs, before or after it did its work. */
function powerSwitch(disk: SimulatedDisk, random: () => number): { on(): boolean; remains(): SimulatedDisk } {
  let left = 1 + Math.floor(random() * 20);
  let remains: SimulatedDisk | undefined;
  const { sync } = disk;
  disk.sync = async () => {
    left -= 1;
    if (left === 0 && random() < 0.7) remains ??= disk.powerCut(random);
    await sync.call(disk);
    if (left === 0) remains ??= disk.powerCut(random);
  };
  return {
    on: () => remains === undefined,
    remains: () => remains ?? disk,
  };
}
