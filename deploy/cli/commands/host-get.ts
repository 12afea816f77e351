import { GetHostResponseSchema, type Host, HostModeSchema } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import type { Command } from "../command.ts";
import { drainText } from "../drain-text.ts";
import { exitStatus } from "../failure.ts";
import { enumText, show } from "../show.ts";
import { renderFields } from "../table.ts";

export const hostGet: Command = {
  name: "host get",
  summary: "show the host: its VMM, its capacity and what tenants hold of it",
  operands: [],
  options: {},
  async run(_words, context) {
    const answer = await context.clients.host.getHost({}, { signal: context.signal });
    await show(context, GetHostResponseSchema, answer, () => hostText(answer.host));
    return exitStatus.ok;
  },
};

function hostText(host: Host | undefined): string {
  if (host === undefined) return "";
  const { posture } = host;
  return renderFields([
    ["host", host.hostId],
    ["version", host.version],
    ["mode", enumText(HostModeSchema, host.mode)],
    ["vmm", `${host.vmm} on ${host.accelerator}`],
    ["why", host.vmmReason],
    ["boundary", host.productionBoundary ? "for hostile tenants" : "for development: not for hostile tenants"],
    ["spawns", posture === undefined ? "not checked yet" : posture.spawnsAdmitted ? "admitted" : "not admitted"],
    ["drain", drainText(host.drain)],
    ["failed", posture?.failedControlIds.join(" ") ?? ""],
    ["unknown", posture?.unknownControlIds.join(" ") ?? ""],
    ["waived", posture?.waivedControlIds.join(" ") ?? ""],
    ["tenants", String(host.tenantCount)],
    ["slots", `${host.slotsInUse} of ${host.slotCount}`],
    ["vcpus", `${host.vcpusCommitted} of ${host.vcpuCapacity} (${host.cpuCount} cores)`],
    ["memory", `${host.memoryCommittedMib} of ${host.memoryCapacityMib} MiB (${host.memoryMib} MiB in the machine)`],
    ["disk", `${host.diskCommittedMib} of ${host.diskCapacityMib} MiB`],
    ["templates", host.templatesOffered ? `${host.templateCount} ready` : "none: every guest boots"],
    ["queued", `${host.queuedBoots} boots`],
    ["images", host.images.join(" ")],
  ]);
}
