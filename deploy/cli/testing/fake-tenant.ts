import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Tenant, TenantSchema, TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";

/** A running tenant of that name. */
export function fakeTenant(
  name: string,
  more: Partial<
    Pick<
      Tenant,
      "image" | "labels" | "egress" | "networkLimits" | "extraHostNames" | "resources" | "state" | "idlePolicy"
    >
  > = {},
): Tenant {
  return create(TenantSchema, {
    ...{
      name,
      state: TenantState.RUNNING,
      hostId: "host-1",
      vmId: createHash("sha256").update(name).digest("hex").slice(0, 32),
      generation: 1,
    },
    ...{ image: "base", resources: { vcpuCount: 1, memoryMib: 256, diskMib: 512 } },
    url: `https://${name}.lobsterd.localhost/`,
    createTime: timestampFromMs(1_700_000_000_000),
    ...more,
  });
}
