import { type AccessRule, allow } from "@lobsterd/chassis/access.ts";
import { RouteService } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";

const vm = ["service:vm"] as const;
const readers = ["role:operator", "role:viewer", "service:vm"] as const;

/** Who may call what. Only `vm` decides where a name leads: a route follows a microVM, never a person's wish. */
export const access: readonly AccessRule[] = [
  allow(RouteService, { publishRoute: vm, withdrawRoute: vm, getRoute: readers, listRoutes: readers }),
];
