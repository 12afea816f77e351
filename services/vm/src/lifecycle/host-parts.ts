import type { Client } from "@connectrpc/connect";
import type { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { RouteService } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import type { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { GuestAgents } from "../guest/agent.ts";
import type { VmmPort } from "../vmm/port.ts";

/** Everything outside `vm` that a tenant's life touches. Tests put fakes here; `service.ts` puts the real ones. */
export interface HostParts {
  readonly vmm: VmmPort;
  readonly net: Client<typeof NetworkService>;
  readonly proxy: Client<typeof RouteService>;
  readonly secrets: Client<typeof SecretService>;
  /** The log read back; what is written goes through the spool. */
  readonly audit: Pick<Client<typeof AuditService>, "getLatestOwnRecord">;
  readonly guests: GuestAgents;
  /** How many connections the kernel tracks at most; undefined where it tracks none. */
  readonly readConnectionMax: () => Promise<number | undefined>;
}
