import { randomUUID } from "node:crypto";
import { SpawnTenantResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import {
  egressOf,
  egressOptions,
  idleOf,
  idleOptions,
  labelsOf,
  limitOptions,
  limitsOf,
  requestIdOption,
  tenantOperand,
} from "../operands.ts";
import { show } from "../show.ts";
import { showSpawnProgress } from "../spawn-progress.ts";
import { tenantText } from "../tenant-text.ts";

const maxCount = 1_048_576;

export const spawn: Command = {
  name: "spawn",
  summary: "create a tenant, and wait until its URL works",
  operands: [{ ...tenantOperand, completion: [] }],
  options: {
    image: { value: "NAME", help: "installed image (default base)" },
    vcpus: { value: "N", help: "1 or an even number (default 1)" },
    memory: { value: "MIB", help: "memory in MiB (default of the image)" },
    disk: { value: "MIB", help: "size of the writable disk in MiB (default of the host)" },
    label: { value: "KEY=VALUE", help: "a label", isRepeatable: true },
    owner: { value: "CLIENT", help: "client with the role owner whose tenant it is" },
    "host-name": {
      value: "NAME",
      help: "a name outside the platform's domain that leads to it too",
      isRepeatable: true,
    },
    ...egressOptions,
    ...limitOptions,
    ...idleOptions,
    "request-id": requestIdOption,
  },
  notes: `What it waits for is shown on standard error when that is a terminal. The spawn goes on when this command is interrupted; with the same
--request-id it waits for the same spawn again. A limit that is not given, or 0, is the host's default.`,
  async run(words, context) {
    const name = words.operand("TENANT");
    const requestId = words.text("request-id") ?? randomUUID();
    const egress = egressOf(words);
    const networkLimits = limitsOf(words);
    const idlePolicy = idleOf(words);
    const request = {
      requestId,
      name,
      image: words.text("image") ?? "",
      resources: {
        vcpuCount: words.count("vcpus", maxCount) ?? 0,
        memoryMib: words.count("memory", maxCount) ?? 0,
        diskMib: words.count("disk", maxCount) ?? 0,
      },
      labels: labelsOf(words, "label"),
      owner: words.text("owner") ?? "",
      extraHostNames: [...words.texts("host-name")],
      ...(egress === undefined ? {} : { egress }),
      ...(networkLimits === undefined ? {} : { networkLimits }),
      ...(idlePolicy === undefined ? {} : { idlePolicy }),
    };
    const answer = await showSpawnProgress(context, { name, requestId }, () =>
      context.clients.tenants.spawnTenant(request, { signal: context.signal }),
    );
    await show(context, SpawnTenantResponseSchema, answer, () => tenantText(answer.tenant));
    return exitStatus.ok;
  },
};
