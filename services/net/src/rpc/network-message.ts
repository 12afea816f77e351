import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Network, NetworkSchema } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetworkRecord } from "../networks/network-store.ts";
import { planSlot } from "../slots/address-plan.ts";

/** A record as callers see it: with everything that follows from its slot. */
export function toNetwork({ vmId, slot, attachTimeMs }: NetworkRecord): Network {
  const { guestAddress, hostAddress, hostInterface } = planSlot(slot);
  const fields: MessageInitShape<typeof NetworkSchema> = {
    vmId,
    slot,
    guestAddress,
    hostAddress,
    hostInterface,
    attachTime: timestampFromMs(attachTimeMs),
  };
  return create(NetworkSchema, fields);
}
