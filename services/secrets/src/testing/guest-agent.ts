import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { allow } from "@lobsterd/chassis/access.ts";
import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { defineRoutes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { startServer } from "@lobsterd/chassis/server.ts";
import {
  AgentService,
  type InjectedSecret,
  type InjectSecretsRequest,
  type InjectSecretsResponse,
  InjectSecretsResponseSchema,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type RunningService, trustDomain } from "./running-service.ts";

/** What an agent answers an injection with. */
export type AgentAnswer = (request: InjectSecretsRequest) => Promise<InjectSecretsResponse>;

export interface ReceivedSecret {
  readonly name: string;
  readonly version: number;
  readonly value: string;
  /** `file`, `environment VARIABLE` or `configuration /pointer`. */
  readonly target: string;
}

export interface TestAgent {
  /** What it was sent: every secret of every injection. */
  readonly received: readonly ReceivedSecret[][];
  close(): Promise<void>;
}

/** PEM files of a guest. */
export interface GuestFiles {
  readonly certificatePath: string;
  readonly keyPath: string;
}

const accept: AgentAnswer = async () => create(InjectSecretsResponseSchema);

/** A TLS server at `address` that serves `AgentService` with the given leaf and lets only `secrets` inject. */
export async function guestAgent(
  service: RunningService,
  address: string,
  leaf: GuestFiles,
  answer: AgentAnswer = accept,
): Promise<TestAgent> {
  const directory = mkdtempSync(join(service.directory, "agent-"));
  writeFileSync(join(directory, "roles.json"), "{}");
  writeFileSync(join(directory, "revocations.json"), "{}");
  const received: ReceivedSecret[][] = [];
  const onlySecrets = ["service:secrets"] as const;
  const server = await startServer({
    config: commonConfigSchema.parse({
      service: "agent",
      hostId: "guest",
      trustDomain,
      listen: { unixPath: join(directory, "rpc.sock"), tcp: { host: address, port: service.config.guestAgentPort } },
      tls: { ...leaf, platformCaPath: service.platform.caPath },
      stateDir: directory,
      rolesPath: join(directory, "roles.json"),
      revocationsPath: join(directory, "revocations.json"),
      shutdownGraceMs: 200,
    }),
    logger: createLogger({ service: "agent", level: "silent" }),
    routes: [
      defineRoutes(AgentService, {
        health: unimplemented,
        async injectSecrets(request) {
          received.push(request.secrets.map(toReceived));
          return await answer(request);
        },
        restartWorkload: unimplemented,
        exec: unimplemented,
        streamLogs: unimplemented,
        getActivity: unimplemented,
        acquireHold: unimplemented,
        releaseHold: unimplemented,
        prepareSuspend: unimplemented,
        completeResume: unimplemented,
        shutdown: unimplemented,
        setClock: unimplemented,
        createIdentityKey: unimplemented,
        installIdentity: unimplemented,
      }),
    ],
    access: [
      allow(AgentService, {
        health: onlySecrets,
        injectSecrets: onlySecrets,
        restartWorkload: [],
        exec: [],
        streamLogs: [],
        getActivity: [],
        acquireHold: [],
        releaseHold: [],
        prepareSuspend: [],
        completeResume: [],
        shutdown: [],
        setClock: [],
        createIdentityKey: [],
        installIdentity: [],
      }),
    ],
  });
  return {
    received,
    async close() {
      await server.close();
      rmSync(directory, { recursive: true });
    },
  };
}

function toReceived({ name, version, value, target }: InjectedSecret): ReceivedSecret {
  const place =
    target.case === undefined
      ? "file"
      : `${target.case === "environmentVariable" ? "environment" : "configuration"} ${target.value}`;
  return { name, version, value: Buffer.from(value?.value ?? []).toString(), target: place };
}
