import { availableParallelism, totalmem } from "node:os";
import { create } from "@bufbuild/protobuf";
import { type GetHostResponse, GetHostResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { toHostMode, toPostureSummary } from "../posture-message.ts";
import type { VmContext } from "../service.ts";

const version = "0.1.0";

export function getHost({ config, tenants, bootQueue, images, vmm, posture }: VmContext) {
  return async (): Promise<GetHostResponse> => {
    const [description, imageNames] = await Promise.all([vmm.describe(), images.names()]);
    // A tenant keeps its slot until nothing of it is left, so there are as many slots in use as tenants.
    const tenantCount = tenants.count();
    const report = posture.latest();
    return create(GetHostResponseSchema, {
      host: {
        hostId: config.hostId,
        vmm: `${description.vmm} ${description.version}`,
        accelerator: description.accelerator,
        productionBoundary: description.productionBoundary,
        cpuCount: availableParallelism(),
        memoryMib: Math.floor(totalmem() / 1024 ** 2),
        slotCount: config.slotCount,
        slotsInUse: tenantCount,
        tenantCount,
        queuedBoots: bootQueue.waiting,
        images: [...imageNames],
        version,
        mode: toHostMode(posture.mode),
        ...(report === undefined ? {} : { posture: toPostureSummary(report, posture.mode) }),
      },
    });
  };
}
