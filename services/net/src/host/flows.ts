import { ProcessFailed, type ProcessRunner } from "./process.ts";

/**
 * Ends what the host still has open with a guest: its own sockets to `address` and every tracked connection from or to it.
 * Only worth calling once the firewall has cut the guest off, or new ones appear behind it. Safe to repeat.
 */
export async function endFlows(runner: ProcessRunner, address: string): Promise<void> {
  await Promise.all([
    // A cut flow sends no reset by itself: without this, a pooled connection hangs until its own timeout.
    runner.run(["ss", "-H", "-t", "-u", "-n", "-a", "-K", "dst", address]),
    forget(runner, "--orig-src", address),
    forget(runner, "--orig-dst", address),
  ]);
}

async function forget(runner: ProcessRunner, selector: string, address: string): Promise<void> {
  try {
    await runner.run(["conntrack", "-D", selector, address]);
  } catch (error) {
    // conntrack ends with 1 both when it fails and when nothing matched; only the text tells them apart.
    if (error instanceof ProcessFailed && error.status === 1 && /\b0 flow entries have been deleted/.test(error.stderr))
      return;
    throw error;
  }
}
