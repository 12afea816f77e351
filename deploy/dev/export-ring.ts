/** One body that a process exported, as it came. */
export interface Export {
  readonly path: "/v1/traces" | "/v1/metrics";
  readonly body: string;
}

/** The newest exports, for who brings them to a collector: numbered from 1, the oldest given up for room. */
export class ExportRing {
  readonly #maxCharacters: number;
  #kept: Export[] = [];
  #characters = 0;
  #last = 0;

  constructor(maxCharacters: number) {
    this.#maxCharacters = maxCharacters;
  }

  add(one: Export): void {
    this.#kept.push(one);
    this.#last += 1;
    this.#characters += one.body.length;
    while (this.#characters > this.#maxCharacters) this.#characters -= this.#kept.shift()?.body.length ?? 0;
  }

  /** What came after number `last` and is still here, and the number to ask with next. A number of another run is as good as 0. */
  after(last: number): { readonly last: number; readonly exports: readonly Export[] } {
    const first = this.#last - this.#kept.length;
    const skipped = last > this.#last ? 0 : Math.max(0, last - first);
    return { last: this.#last, exports: this.#kept.slice(skipped) };
  }
}
