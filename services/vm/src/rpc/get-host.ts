import { create } from "@bufbuild/protobuf";
import { type GetHostResponse, GetHostResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { toDrainMessage } from "../drain-message.ts";
import { amountsOf, capacityOf } from "../lifecycle/capacity.ts";
import { toHostMode, toPostureSummary } from "../posture-message.ts";
import type { VmContext } from "../service.ts";

const version = "0.1.0";

export function getHost({ config, tenants, bootQueue, images, vmm, files, posture, drain }: VmContext) {
  return async (): Promise<GetHostResponse> => {
    const sealedBytes = await files.sealedBytes();
    const [description, imageNames] = await Promise.all([vmm.describe(), images.names()]);
    // A tenant keeps its slot until nothing of it is left, so there are as many slots in use as tenants.
    const tenantCount = tenants.count();
    const report = posture.latest();
    const progress = drain.progress();
    const capacity = capacityOf(description, config, { sealedBytes });
    const committed = amountsOf(tenants.resources(), capacity);
    return create(GetHostResponseSchema, {
      host: {
        hostId: config.hostId,
        vmm: `${description.vmm} ${description.version}`,
        accelerator: description.accelerator,
        productionBoundary: description.productionBoundary,
        vmmReason: description.reason,
        cpuCount: description.cores,
        memoryMib: description.memoryMib,
        vcpuCapacity: capacity.vcpus,
        vcpusCommitted: committed.vcpus,
        memoryCapacityMib: capacity.memoryMib,
        memoryCommittedMib: committed.memoryMib,
        diskCapacityMib: capacity.diskMib,
        diskCommittedMib: committed.diskMib,
        slotCount: config.slotCount,
        slotsInUse: tenantCount,
        tenantCount,
        templatesOffered: description.templates.offered,
        templateCount: description.templates.count,
        queuedBoots: bootQueue.waiting,
        images: [...imageNames],
        version,
        mode: toHostMode(posture.mode),
        ...(progress && { drain: toDrainMessage(progress) }),
        ...(report === undefined ? {} : { posture: toPostureSummary(report, posture.mode) }),
      },
    });
  };
}
