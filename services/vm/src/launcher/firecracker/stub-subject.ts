import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import type { LauncherConfig } from "../config.ts";
import type { LauncherHost } from "../host.ts";
import { type OpenJailer, openHost } from "../main.ts";
import type { Verbs } from "../protocol.ts";
import { openFirecrackerJailer } from "./jailer.ts";

/** Takes the programs where they are, whatever they are: a test's are in no lock, and no guest boots under a stub. */
export const openUnlockedJailer: OpenJailer = (config, cgroups, artifacts) =>
  openFirecrackerJailer(config, {
    programsDir: config.vmm.firecrackerDir,
    reason: "a test",
    verify: (image, { firecracker: _firecracker, jailer: _jailer, ...copies }) => artifacts.verifyFiles(image, copies),
    cgroupVersion: cgroups.version,
  });

export const openUnlockedHost = (config: LauncherConfig): Promise<LauncherHost> => openHost(config, openUnlockedJailer);

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
