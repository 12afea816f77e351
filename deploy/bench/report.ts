import { median, spread } from "./statistics.ts";

/** What a figure has to be. */
export interface Goal {
  readonly what: string;
  readonly measured: number;
  readonly limit: number;
  readonly unit: string;
  /** Whether more is better; otherwise less is. */
  readonly atLeast?: boolean;
}

const nameWidth = 60;

/** One line of a figure: its median and its spread. */
export function report(name: string, samples: readonly number[], unit = "ms", digits = 0): void {
  const { low, high } = spread(samples);
  const middle = median(samples).toFixed(digits).padStart(6);
  process.stdout.write(
    `${name.padEnd(nameWidth)} median ${middle} ${unit}   (${low.toFixed(digits)} to ${high.toFixed(digits)})\n`,
  );
}

/** One line that sets two figures against each other. */
export function compare(name: string, ours: number, theirs: number): void {
  process.stdout.write(`${name.padEnd(nameWidth)} ${(theirs / ours).toFixed(1)} : 1\n`);
}

/** One line for each goal. Returns whether all of them were met. */
export function judge(goals: readonly Goal[]): boolean {
  for (const goal of goals) {
    const { what, measured, limit, unit, atLeast = false } = goal;
    const verdict = isMet(goal) ? "met" : "MISSED";
    const bound = `${atLeast ? "at least" : "at most"} ${limit}${unit}`;
    process.stdout.write(`${what.padEnd(nameWidth)} ${measured.toFixed(2)}${unit} of ${bound}: ${verdict}\n`);
  }
  return goals.every(isMet);
}

function isMet({ measured, limit, atLeast = false }: Goal): boolean {
  return atLeast ? measured >= limit : measured <= limit;
}
