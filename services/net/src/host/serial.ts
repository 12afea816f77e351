/** Runs pieces of work one after the other, in the order they were given. */
export interface Serial {
  run<T>(work: () => Promise<T>): Promise<T>;
}

/** One piece's failure is its caller's; the next one runs all the same. */
export function createSerial(): Serial {
  let tail: Promise<unknown> = Promise.resolve();
  return {
    run(work) {
      const result = tail.then(work, work);
      tail = result.catch(() => undefined);
      return result;
    },
  };
}

/** A `Serial` per key; a key costs nothing while it has no work. */
export interface KeyedSerial<K> {
  run<T>(key: K, work: () => Promise<T>): Promise<T>;
  /** Keys with work under way or waiting. */
  busy(): ReadonlySet<K>;
}

export function createKeyedSerial<K>(): KeyedSerial<K> {
  const entries = new Map<K, { serial: Serial; waiting: number }>();
  return {
    async run(key, work) {
      const entry = entries.get(key) ?? { serial: createSerial(), waiting: 0 };
      entries.set(key, entry);
      entry.waiting += 1;
      try {
        return await entry.serial.run(work);
      } finally {
        entry.waiting -= 1;
        if (entry.waiting === 0) entries.delete(key);
      }
    },
    busy: () => new Set(entries.keys()),
  };
}
