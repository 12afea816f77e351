import { chownSync } from "node:fs";
import { dirname } from "node:path";
import { allow } from "@lobsterd/chassis/access.ts";
import { commonConfigSchema, parseConfig } from "@lobsterd/chassis/config.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { defineRoutes } from "@lobsterd/chassis/routes.ts";
import { startServer } from "@lobsterd/chassis/server.ts";
import { AuditService, type RecordDraft } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { proxyUid, type ScenePaths, trustDomain } from "./scene-paths.ts";

/** Stands in for `audit`: takes records of `proxy` on its socket and keeps them. */
export async function startAuditReceiver(
  paths: ScenePaths,
): Promise<{ records: RecordDraft[]; close(): Promise<void> }> {
  const records: RecordDraft[] = [];
  const config = parseConfig(
    commonConfigSchema,
    JSON.stringify({
      ...{ service: "audit", hostId: "scene", trustDomain, listen: { unixPath: paths.auditSocket } },
      ...{
        tls: { ...paths.auditLeaf, platformCaPath: paths.platformCa },
        rolesPath: paths.roles,
        revocationsPath: paths.revocations,
      },
      ...{ stateDir: dirname(paths.auditSocket), shutdownGraceMs: 200 },
    }),
  );
  const nobody = [] as const;
  const server = await startServer({
    config,
    logger: createLogger({ service: "audit", level: "silent" }),
    routes: [
      defineRoutes(AuditService, {
        appendRecord({ record }) {
          if (record !== undefined) records.push(record);
          return { sequence: BigInt(records.length) };
        },
        queryRecords: () => ({}),
        getLatestOwnRecord: () => ({}),
        tailRecords: async function* none() {},
        getCheckpoint: () => ({}),
        getInclusionProof: () => ({}),
        getConsistencyProof: () => ({}),
        exportRecords: async function* none() {},
      }),
    ],
    access: [
      allow(AuditService, {
        ...{ appendRecord: ["service:proxy"], queryRecords: nobody, tailRecords: nobody, getCheckpoint: nobody },
        ...{
          getInclusionProof: nobody,
          getConsistencyProof: nobody,
          exportRecords: nobody,
          getLatestOwnRecord: nobody,
        },
      }),
    ],
  });
  chownSync(paths.auditSocket, proxyUid, proxyUid);
  return { records, close: () => server.close() };
}
