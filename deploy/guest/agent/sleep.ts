import type { CurrentIdentity } from "./current-identity.ts";
import { fail } from "./errors.ts";
import type { FrontGate } from "./front-gate.ts";
import type { InjectedSecrets } from "./injected-secrets.ts";
import { log } from "./log.ts";

export type SleepParts = {
  readonly current: CurrentIdentity;
  readonly gate: Pick<FrontGate, "hold" | "release">;
  readonly secrets: Pick<InjectedSecrets, "forget">;
  /** The workload's own commands; each resolves at once where the image names none. */
  readonly suspendWorkload: () => Promise<void>;
  readonly resumeWorkload: () => Promise<void>;
  readonly syncFileSystems: () => Promise<void>;
};

/** How long requests under way may go on when the guest is to sleep. */
const frontGraceMs = 1_000;

/**
 * Puts this guest to sleep and wakes it. Between the two calls the machine may have been saved and loaded; neither can tell, and both are
 * safe to repeat. The workload is asked first: one that refuses is not disturbed.
 */
export class Sleep {
  readonly #parts: SleepParts;
  #isAsleep = false;
  /** The generation whose secrets were taken away. */
  #emptied: number | undefined;

  constructor(parts: SleepParts) {
    this.#parts = parts;
  }

  get isAsleep(): boolean {
    return this.#isAsleep;
  }

  /** Whether secrets were taken away for a suspend and none are to come back yet: the next generation's are the first that do. */
  get isEmptied(): boolean {
    return this.#emptied !== undefined && this.#parts.current.value.generation <= this.#emptied;
  }

  /**
   * Leaves the guest as it may be saved: the workload has agreed, nobody is connected to it, secrets that come again at the resume are gone, and
   * the disk holds what was written. With `diskOnly` connections and secrets stay. Throws SUSPEND_REFUSED.
   */
  async prepare({ diskOnly = false } = {}): Promise<void> {
    const { current, gate, secrets, suspendWorkload, syncFileSystems } = this.#parts;
    if (!this.#isAsleep) {
      try {
        await suspendWorkload();
      } catch (error) {
        log("workload refused to be suspended", { error: messageOf(error) });
        throw fail("SUSPEND_REFUSED", "the workload refused to be suspended, or did not answer in time");
      }
    }
    this.#isAsleep = true;
    if (!diskOnly) {
      this.#emptied = current.value.generation;
      await gate.hold(frontGraceMs);
      await secrets.forget();
    }
    await syncFileSystems();
  }

  /** Lets the workload and its port go on, under the identity of `generation`, which has to be this guest's by now. */
  async complete(generation: number): Promise<void> {
    const { current, gate, resumeWorkload } = this.#parts;
    if (generation !== current.value.generation)
      throw fail("WRONG_GENERATION", "the identity of this generation is not installed");
    if (this.#isAsleep) {
      // A workload that fails here goes on as it is: its health says what became of it.
      await resumeWorkload().catch((error: unknown) => log("workload failed to resume", { error: messageOf(error) }));
    }
    this.#isAsleep = false;
    this.#emptied = undefined;
    await gate.release();
  }
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 200);
}
