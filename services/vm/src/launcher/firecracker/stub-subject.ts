import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import type { Verbs } from "../protocol.ts";

/** Asks a stub VMM through a channel of its own; returns status and body. */
export async function askVmm(verbs: Verbs, vmId: string, method: string, path: string, body = ""): Promise<string> {
  const channel = await verbs.connect({ vmId, channel: "api" });
  const closed = once(channel, "close");
  try {
    const asking = request({
      method,
      path,
      headers: { "content-length": body.length },
      createConnection: () => channel,
    });
    asking.end(body);
    const [response] = await once(asking, "response");
    return `${response.statusCode} ${await text(response)}`;
  } finally {
    channel.destroy();
    await closed;
  }
}

/** Starts the stub's guest, as the adapter does: afterwards its timer thread wants to be placed. */
export async function bootStub(verbs: Verbs, vmId: string): Promise<void> {
  const answer = await askVmm(verbs, vmId, "PUT", "/actions", "{}");
  if (!answer.startsWith("204")) throw new Error(`the stub answers ${answer}`);
}

/** Why KVM cannot be used here; undefined when /dev/kvm opens. */
export function kvmMissing(): string | undefined {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return "/dev/kvm does not open";
  }
}
