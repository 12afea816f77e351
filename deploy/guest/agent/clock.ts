import { fail } from "./errors.ts";

/** The machine's clocks. Times are milliseconds; `wallMs` counts from 1970, `steadyMs` from anywhere and never jumps. */
export interface MachineClock {
  wallMs(): number;
  steadyMs(): number;
  setWall(ms: number): Promise<void>;
}

/** Half of what is promised. Setting the clock costs a process, and a machine's own clock counts whole seconds when it starts. */
const toleratedMs = 500;
const maximumTries = 4;

/**
 * Keeps the guest's clock near its host's. It is told the time at boot by the identity drive and later over the authenticated channel,
 * and refuses a time before the last one it was told: certificates that have expired stay so.
 */
export class GuestClock {
  readonly #machine: MachineClock;
  #floorMs = 0;
  #setting: Promise<unknown> = Promise.resolve();

  constructor(machine: MachineClock) {
    this.#machine = machine;
  }

  /**
   * Takes the host's time, `ageMs` after the host told it. Resolves when the clock is within `withinMs` (half a second) of it. Throws
   * CLOCK_BACKWARDS, and CLOCK_NOT_SET when the machine's clock cannot be brought that near. Calls wait for one another.
   */
  setTo(hostMs: number, { ageMs = 0, withinMs = toleratedMs } = {}): Promise<void> {
    const startMs = this.#machine.steadyMs() - ageMs;
    const done = this.#setting.then(() => this.#setTo(hostMs, startMs, withinMs));
    this.#setting = done.catch(() => undefined);
    return done;
  }

  async #setTo(hostMs: number, startMs: number, withinMs: number): Promise<void> {
    if (hostMs < this.#floorMs) throw fail("CLOCK_BACKWARDS", "the host told a later time before");
    this.#floorMs = hostMs;
    const behindMs = () => hostMs + (this.#machine.steadyMs() - startMs) - this.#machine.wallMs();
    // Setting takes time itself, up to half a second under emulation: the second try allows for what the first one showed.
    let delayMs = 0;
    for (let tries = 0; Math.abs(behindMs()) > withinMs; tries += 1) {
      if (tries === maximumTries) throw fail("CLOCK_NOT_SET", "the machine's clock does not follow");
      await this.#machine.setWall(this.#machine.wallMs() + behindMs() + delayMs);
      delayMs += behindMs();
    }
  }
}

/** The guest's own clock. Node cannot set it. */
export function machineClock(setWall: (ms: number) => Promise<void>): MachineClock {
  return { wallMs: () => Date.now(), steadyMs: () => performance.now(), setWall };
}
