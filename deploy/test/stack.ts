import { withStack } from "../dev/stack.ts";

export const testInstance = "test";

/** Runs `body` while the stack of the end-to-end tests is up. Taking it down afterwards fails if anything of it is left. */
export function withTestStack<T>(body: () => Promise<T>): Promise<T> {
  return withStack({ instance: testInstance, progress: (line) => process.stdout.write(`${line}\n`) }, body);
}
