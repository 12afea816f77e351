/** What this process has in its memory and nowhere else: a text, and how often it was asked. Lost with the process. */
let text = "";
let count = 0;

/** Keeps `text` if there is one, and tells what is kept. */
export async function remember(given: {
  readonly text?: string;
}): Promise<{ text: string; count: number; pid: number }> {
  text = given.text ?? text;
  count += 1;
  return { text, count, pid: process.pid };
}
