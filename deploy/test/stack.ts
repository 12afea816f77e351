import { bringUp } from "../dev/stack.ts";

/** Runs `body` while the stack of the end-to-end tests is up. Taking it down afterwards fails if anything of it is left. */
export async function withTestStack<T>(body: () => Promise<T>): Promise<T> {
  const stack = await bringUp({ instance: "test", progress: (line) => process.stdout.write(`${line}\n`) });
  try {
    return await body();
  } finally {
    await stack.down();
  }
}
