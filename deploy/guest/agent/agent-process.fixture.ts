/**
 * The agent's port in a process of its own, so that its memory can be measured: everything from the TLS server to the handlers is the
 * agent's; only what is around it (clock, workload, paths) is not a guest's. Takes one identity by IPC, tells its port, and
 * answers each message after it with what the agent takes.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agentHandlers } from "./agent-service.ts";
import { GuestClock } from "./clock.ts";
import { CurrentIdentity } from "./current-identity.ts";
import { createGrpcServer, grpcLimits } from "./grpc-server.ts";
import { Holds } from "./holds.ts";
import type { Identity } from "./identity.ts";
import { IdentityRenewal } from "./identity-renewal.ts";
import { InjectedSecrets } from "./injected-secrets.ts";
import { JobsFile } from "./jobs-file.ts";
import { SecretFiles } from "./secret-files.ts";
import { guestAddress, portOf } from "./testing.ts";
import { Tracer } from "./tracer.ts";
import { Traffic } from "./traffic.ts";
import { Workload } from "./workload.ts";
import { WorkloadConfiguration } from "./workload-configuration.ts";

/** What the parent sends first. */
export type Start = {
  readonly identity: Omit<Identity, "hostNames" | "tokenDigests" | "seed"> & {
    readonly digests: { readonly vm: string; readonly secrets: string };
  };
  readonly limits: { readonly callMs: number; readonly answeredMs: number };
};

/** What the agent's process takes: resident memory, and connections at its port. */
export type Usage = { readonly residentBytes: number; readonly connections: number };

function serve({ identity, limits }: Start): void {
  const { digests, ...rest } = identity;
  const current = new CurrentIdentity({
    ...rest,
    hostNames: new Set(["demo.guest.internal"]),
    tokenDigests: { vm: Buffer.from(digests.vm, "hex"), secrets: Buffer.from(digests.secrets, "hex") },
    seed: Buffer.alloc(64),
  });
  const tracer = new Tracer();
  const manifest = {
    ...{ command: ["/bin/true"], user: { uid: 65534, gid: 65534 }, environment: {} },
    ...{ port: 1, healthPath: "/", configurationPath: "/dev/null" },
  };
  const workload = new Workload(manifest, tracer);
  const { server } = createGrpcServer(
    current,
    agentHandlers({
      ...{ current, renewal: new IdentityRenewal(current), tracer, workload, account: manifest },
      clock: new GuestClock({ wallMs: Date.now, steadyMs: () => performance.now(), setWall: async () => undefined }),
      mixEntropy: () => undefined,
      secrets: new InjectedSecrets(
        new SecretFiles(mkdtempSync(join(tmpdir(), "agent-secrets-")), { uid: 0, gid: 0 }),
        new WorkloadConfiguration(manifest.configurationPath, { uid: 0, gid: 0 }),
        workload,
      ),
      activity: { traffic: new Traffic(), holds: new Holds(), jobs: new JobsFile(undefined) },
      sleep: { isAsleep: false, isEmptied: false, prepare: async () => undefined, complete: async () => undefined },
      quiesce: async () => undefined,
      powerOff: () => undefined,
    }),
    { ...grpcLimits, ...limits },
  );
  process.on("message", () =>
    server.getConnections((_error, connections) =>
      process.send?.({ residentBytes: process.memoryUsage().rss, connections } satisfies Usage),
    ),
  );
  server.listen(0, guestAddress, () => process.send?.(portOf(server)));
}

process.once("message", (start) => serve(start as Start));
process.on("disconnect", () => process.exit(0));
