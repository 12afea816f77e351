import type { Duplex } from "node:stream";
import { z } from "zod";
import { vmmFail } from "../port.ts";

const maxLineBytes = 64 * 1024;
const maxEvents = 100;
const answerWithinMs = 15_000;

const messageSchema = z.looseObject({
  QMP: z.unknown().optional(),
  event: z.string().optional(),
  id: z.int().optional(),
  return: z.unknown().optional(),
  error: z.looseObject({ desc: z.string() }).optional(),
});
type Message = z.infer<typeof messageSchema>;

/** One conversation with QEMU's machine protocol. What comes from there is as hostile as the guest. */
export interface Monitor {
  /** Names of the events that came so far. */
  readonly events: ReadonlySet<string>;
  /** Commands go one after the other. Errors: VMM_FAILED (refused, malformed, too long, or ended), TIMED_OUT. */
  execute<T>(command: string, result: z.ZodType<T>, values?: Readonly<Record<string, unknown>>): Promise<T>;
  close(): void;
}

/** Greets a QEMU on its monitor. Errors: those of `execute`; the channel is then closed. */
export async function openMonitor(channel: Duplex, withinMs = answerWithinMs): Promise<Monitor> {
  const messages = readMessages(channel);
  const events = new Set<string>();
  let lastId = 0;
  const withDeadline = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      channel.destroy();
    }, withinMs);
    try {
      return await work();
    } catch (error) {
      throw late ? vmmFail("TIMED_OUT", `QEMU did not answer ${what} in time`, { cause: error }) : error;
    } finally {
      clearTimeout(timer);
    }
  };
  const next = async (): Promise<Message> => {
    const message = await messages.next();
    if (message.done === true) throw vmmFail("VMM_FAILED", "QEMU closed its monitor");
    const { event } = message.value;
    if (event !== undefined && events.size < maxEvents) events.add(event);
    return message.value;
  };
  let turn: Promise<unknown> = Promise.resolve();
  const monitor: Monitor = {
    events,
    execute(command, result, values) {
      const answer = turn.then(() => converse(command, result, values));
      turn = answer.catch(() => {});
      return answer;
    },
    close: () => void channel.destroy(),
  };
  const converse = <T>(command: string, result: z.ZodType<T>, values?: Readonly<Record<string, unknown>>): Promise<T> =>
    withDeadline(command, async () => {
      lastId += 1;
      const id = lastId;
      channel.write(`${JSON.stringify({ execute: command, arguments: values, id })}\n`);
      for (;;) {
        const message = await next();
        if (message.id !== id) continue;
        if (message.error !== undefined)
          throw vmmFail("VMM_FAILED", `QEMU refuses ${command}: ${shown(message.error.desc)}`);
        const parsed = result.safeParse(message.return);
        if (!parsed.success) throw vmmFail("VMM_FAILED", `QEMU's answer to ${command} is malformed`);
        return parsed.data;
      }
    });
  try {
    await withDeadline("the greeting", async () => {
      while ((await next()).QMP === undefined);
    });
    await monitor.execute("qmp_capabilities", z.unknown());
    return monitor;
  } catch (error) {
    channel.destroy();
    throw error;
  }
}

const shown = (text: string) => JSON.stringify(text.slice(0, 256));

async function* readMessages(channel: Duplex): AsyncGenerator<Message> {
  let rest = Buffer.alloc(0);
  try {
    for await (const chunk of channel as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        yield parse(rest.subarray(0, end).toString("utf8"));
        rest = rest.subarray(end + 1);
      }
      if (rest.length > maxLineBytes) throw vmmFail("VMM_FAILED", "QEMU's answer is too long");
    }
  } catch (error) {
    if ((error as { reason?: string }).reason !== undefined) throw error;
    throw vmmFail("VMM_FAILED", "QEMU's monitor was cut off", { cause: error });
  }
}

function parse(line: string): Message {
  try {
    return messageSchema.parse(JSON.parse(line));
  } catch (error) {
    throw vmmFail("VMM_FAILED", "QEMU's monitor does not speak its protocol", { cause: error });
  }
}
