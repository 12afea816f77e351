import { fail } from "./errors.ts";

/** How many streams of one kind there may be at once. */
export class StreamPlaces {
  readonly #limit: number;
  #taken = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes a place and returns what gives it back. Throws TOO_MANY_STREAMS when all are taken. */
  enter(): () => void {
    if (this.#taken >= this.#limit) throw fail("TOO_MANY_STREAMS", `at most ${this.#limit} of these at once`);
    this.#taken += 1;
    return () => {
      this.#taken -= 1;
    };
  }
}
