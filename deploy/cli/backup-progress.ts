import type { Context } from "./command.ts";
import { printable } from "./printable.ts";
import { bytesText } from "./show.ts";

const pollMs = 1000;

interface Shown {
  readonly name: string;
  /** Such as `backing up`. */
  readonly doing: string;
}

/** Makes `call` and shows on a terminal how far it is. Passes on what `call` resolves with or throws. */
export async function showBackupProgress<T>(context: Context, shown: Shown, call: () => Promise<T>): Promise<T> {
  const { io, wantsJson, signal } = context;
  const end = new AbortController();
  const isShown = io.errors.isTerminal && !wantsJson;
  const showing = isShown ? showUntil(AbortSignal.any([end.signal, signal]), context, shown) : undefined;
  try {
    return await call();
  } finally {
    end.abort();
    await showing;
  }
}

async function showUntil(end: AbortSignal, context: Context, { name, doing }: Shown): Promise<void> {
  const { clock, io } = context;
  const startMs = clock.now();
  while (!end.aborted) {
    const progress = await readProgress(context, name, end);
    if (end.aborted) break;
    const seconds = Math.round((clock.now() - startMs) / 1000);
    await io.errors.write(`\r\x1b[K${doing} ${printable(name)}, ${seconds} s${progress}`);
    await clock.sleep(pollMs, end);
  }
  await io.errors.write("\r\x1b[K");
}

/** A hint: what cannot be asked for is unknown, and only the call's own answer counts. */
async function readProgress({ clients }: Context, name: string, signal: AbortSignal): Promise<string> {
  const request = { name, page: { pageSize: 1 } };
  const answer = await clients.tenants.listBackups(request, { signal, timeoutMs: pollMs * 2 }).catch(() => undefined);
  const work = answer?.work[0];
  return work === undefined ? "" : `: ${bytesText(work.doneBytes)} of ${bytesText(work.totalBytes)}`;
}
