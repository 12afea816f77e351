import assert from "node:assert/strict";
import {
  formatKernelArguments,
  type KernelArguments,
  maxKernelArgumentBytes,
} from "../../../launcher/kernel-arguments.ts";

const keys = [
  "reboot",
  "panic",
  "quiet",
  "8250.nr_uarts",
  "ipv6.disable",
  "i8042.noaux",
  "tsc_early_khz",
  "tsc",
  "init",
  "root",
  "__proto__",
  "a b",
  "",
  "x\ny",
];
const values: readonly unknown[] = [
  ...["k", "t", "reliable", "k init=/bin/sh", "k\n", 'k"', "k;reboot", " ", "", "k\0", "true"],
  ...[
    0,
    1,
    -1,
    2,
    60,
    61,
    2_445_428,
    99_999,
    10_000_001,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1e21,
    true,
    false,
    null,
    undefined,
    [],
    ["k"],
    {},
  ],
  { toString: () => "k init=/bin/sh" },
];
const allowed =
  /^(reboot=[kt]|panic=(-1|[1-5]?[0-9]|60)|quiet|8250\.nr_uarts=[0-4]|ipv6\.disable=[01]|i8042\.noaux|tsc=reliable|tsc_early_khz=2445428)$/;

/** Deterministic, so that a failure can be repeated. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Formats `inputs` hostile arguments and checks that each is refused or keeps the boundaries between arguments. */
export function fuzzKernelArguments(inputs: number, seed: number): void {
  const pick = generator(seed);
  let accepted = 0;
  for (let round = 0; round < inputs; round++) {
    const input: Record<string, unknown> = {};
    const count = pick(4);
    for (let at = 0; at < count; at++) {
      const key = keys[pick(keys.length)] ?? "";
      Object.defineProperty(input, key, { value: values[pick(values.length)], enumerable: true, configurable: true });
    }
    let line: string;
    try {
      line = formatKernelArguments(input as KernelArguments);
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error));
      continue;
    }
    accepted += 1;
    const given = Object.values(input).filter((value) => value !== undefined).length;
    const words = line === "" ? [] : line.split(" ");
    assert.equal(words.length, given, JSON.stringify(line));
    for (const word of words) assert.match(word, allowed);
    assert.ok(Buffer.byteLength(line) <= maxKernelArgumentBytes);
  }
  assert.ok(accepted > inputs / 20, `only ${accepted} inputs were accepted`);
}
