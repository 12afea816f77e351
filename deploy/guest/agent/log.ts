/** Facts beside a message. Never a secret: nothing here redacts. */
export type Facts = Readonly<Record<string, string | number | boolean>>;

/** One JSON line on standard error, which is the console where the VMM gives the guest one and nowhere otherwise. */
export function log(message: string, facts: Facts = {}): void {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), message, ...facts })}\n`);
}
