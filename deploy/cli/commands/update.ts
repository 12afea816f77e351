import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type UpdateTenantRequestSchema,
  UpdateTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { type Command, UsageError, type Words } from "../command.ts";
import { exitStatus } from "../failure.ts";
import {
  egressOf,
  egressOptions,
  labelsOf,
  limitOptions,
  limitsOf,
  requestIdOption,
  tenantOperand,
} from "../operands.ts";
import { show } from "../show.ts";
import { tenantText } from "../tenant-text.ts";

const maxCount = 10_000_000;

export const update: Command = {
  name: "update",
  summary: "change a tenant's reach, limits, labels, vCPUs or memory",
  operands: [tenantOperand],
  options: {
    ...egressOptions,
    ...limitOptions,
    label: { value: "KEY=VALUE", help: "a label; those that are given replace all that it had", isRepeatable: true },
    "no-labels": { help: "take all labels away" },
    vcpus: { value: "N", help: "1 or an even number, from the next boot on" },
    memory: { value: "MIB", help: "memory in MiB, from the next boot on" },
    "request-id": requestIdOption,
  },
  notes: "Limits change as a whole: one that is not given, or 0, is the host's default.",
  async run(words, context) {
    const request = requestOf(words);
    const answer = await context.clients.tenants.updateTenant(request, { signal: context.signal });
    const pending = answer.pendingFields.map((field) => `pending: ${field}\n`).join("");
    await show(context, UpdateTenantResponseSchema, answer, () => `${tenantText(answer.tenant)}${pending}`);
    return exitStatus.ok;
  },
};

function requestOf(words: Words): MessageInitShape<typeof UpdateTenantRequestSchema> {
  const egress = egressOf(words);
  const networkLimits = limitsOf(words);
  const labels = labelsOf(words, "label");
  const hasLabels = words.texts("label").length > 0;
  if (hasLabels && words.has("no-labels")) throw new UsageError("--label and --no-labels exclude one another");
  const vcpuCount = words.count("vcpus", maxCount);
  const memoryMib = words.count("memory", maxCount);
  return {
    requestId: words.text("request-id") ?? randomUUID(),
    name: words.operand("TENANT"),
    ...(egress && { egress }),
    ...(networkLimits && { networkLimits }),
    ...((hasLabels || words.has("no-labels")) && { labels: { labels } }),
    ...((vcpuCount !== undefined || memoryMib !== undefined) && {
      resources: { ...(vcpuCount !== undefined && { vcpuCount }), ...(memoryMib !== undefined && { memoryMib }) },
    }),
  };
}
