import { chownSync } from "node:fs";
import { dirname } from "node:path";
import { allowAnyPrincipal } from "@lobsterd/chassis/access.ts";
import { commonConfigSchema, parseConfig } from "@lobsterd/chassis/config.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { defineRoutes, type Handlers, unimplemented } from "@lobsterd/chassis/routes.ts";
import { startServer } from "@lobsterd/chassis/server.ts";
import { TenantService, type WakeTenantRequest } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { proxyUid, type ScenePaths, trustDomain } from "./scene-paths.ts";

/** Stands in for `vm`: answers WakeTenant as `wake` does, and nothing else. */
export async function startWaker(
  paths: ScenePaths,
  wake: (request: WakeTenantRequest) => Promise<void>,
): Promise<{ readonly asked: WakeTenantRequest[]; close(): Promise<void> }> {
  const asked: WakeTenantRequest[] = [];
  const config = parseConfig(
    commonConfigSchema,
    JSON.stringify({
      ...{ service: "vm", hostId: "scene", trustDomain, listen: { unixPath: paths.vmSocket } },
      ...{ tls: { ...paths.vmLeaf, platformCaPath: paths.platformCa }, rolesPath: paths.roles },
      revocationsPath: paths.revocations,
      ...{ stateDir: dirname(paths.vmSocket), shutdownGraceMs: 200 },
    }),
  );
  const none = Object.fromEntries(TenantService.methods.map(({ localName }) => [localName, unimplemented]));
  const handlers = {
    ...(none as Handlers<typeof TenantService>),
    async wakeTenant(request: WakeTenantRequest) {
      asked.push(request);
      await wake(request);
      return {};
    },
  };
  const server = await startServer({
    config,
    logger: createLogger({ service: "vm", level: "silent" }),
    routes: [defineRoutes(TenantService, handlers)],
    access: [allowAnyPrincipal(TenantService)],
    methodDeadlinesMs: { WakeTenant: 60_000 },
  });
  chownSync(paths.vmSocket, proxyUid, proxyUid);
  return { asked, close: () => server.close() };
}
