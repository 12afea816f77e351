import type { EventEmitter } from "node:events";

/** What the front passes on now: requests and tunnels. */
export class Traffic {
  #open = 0;

  /** Counts one until `end` closes. */
  pass(end: Pick<EventEmitter, "once">): void {
    this.#open += 1;
    end.once("close", () => {
      this.#open -= 1;
    });
  }

  get open(): number {
    return this.#open;
  }
}
