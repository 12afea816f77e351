import { connect } from "node:net";
import { z } from "zod";
import { instanceFiles } from "./configuration.ts";
import type { Instance } from "./instance.ts";

const maxAnswerBytes = 256 * 1024;
const answerSchema = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(true), result: z.unknown() }),
  z.object({ ok: z.literal(false), reason: z.string(), message: z.string() }),
]);
const listSchema = z.object({ vms: z.array(z.object({ vmId: z.string().regex(/^[0-9a-f]{32}$/) })) });

/** One exchange with the launcher, as docs/architecture.md describes it. Throws if it is not there or refuses. */
export async function askLauncher(
  instance: Instance,
  verb: "describe" | "list" | "remove",
  parameters: Readonly<Record<string, string>>,
  timeoutMs: number,
): Promise<unknown> {
  const line = await new Promise<string>((resolve, reject) => {
    let text = "";
    const socket = connect(instanceFiles(instance).launcherSocketPath);
    socket.setEncoding("utf8");
    socket.setTimeout(timeoutMs, () =>
      socket.destroy(new Error(`launcher did not answer ${verb} within ${timeoutMs} ms`)),
    );
    socket.once("connect", () => socket.write(`${JSON.stringify({ verb, arguments: parameters })}\n`));
    socket.on("data", (chunk: string) => {
      text += chunk;
      const end = text.indexOf("\n");
      if (end >= 0) {
        resolve(text.slice(0, end));
        socket.destroy();
      } else if (text.length > maxAnswerBytes) socket.destroy(new Error("launcher's answer is too long"));
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("launcher ended the connection early")));
  });
  const answer = answerSchema.parse(JSON.parse(line));
  if (!answer.ok) throw new Error(`launcher refuses ${verb}: ${answer.reason} ${answer.message}`);
  return answer.result;
}

/** Ids of all microVMs that the launcher knows. */
export async function listMicroVms(instance: Instance): Promise<string[]> {
  const { vms } = listSchema.parse(await askLauncher(instance, "list", {}, 10_000));
  return vms.map(({ vmId }) => vmId);
}
