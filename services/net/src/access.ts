import { allow } from "@lobsterd/chassis/access.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";

/** Who may call what. Only vm changes networks; people look. */
export const networkAccess = allow(NetworkService, {
  attachNetwork: ["service:vm"],
  detachNetwork: ["service:vm"],
  getNetwork: ["service:vm", "role:operator", "role:viewer"],
  listNetworks: ["service:vm", "role:operator", "role:viewer"],
  updateNetworkEgress: ["service:vm"],
  updateNetworkLimits: ["service:vm"],
  repairNetwork: ["service:vm"],
  getNetworkCapacity: ["service:vm", "role:operator", "role:viewer"],
  getNetworkUsage: ["service:vm", "role:operator", "role:viewer"],
});
