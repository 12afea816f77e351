import { create } from "@bufbuild/protobuf";
import type { AgentTokens } from "@lobsterd/chassis/agent-tokens.ts";
import { createGuestAgentClient, type GuestAgentClient } from "@lobsterd/chassis/client.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { type InjectSecretsRequest, InjectSecretsRequestSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { guestUri } from "../identity/guest-name.ts";
import type { OpenedSecret } from "../sealed/sealed-secrets.ts";
import type { Target } from "../sealed/targets.ts";
import type { GuestName } from "../store/identity-store.ts";
import { guestFailure, isConnectFailure } from "./guest-failure.ts";

const maxReplyBytes = 4 * 1024;
const reconnectIntervalMs = 100;

/**
 * Hands `secrets` to the agent of one guest at `address`, which has to prove that it is `guest` before a byte is sent.
 * Resolves when the agent has taken them all. Throws GUEST_UNREACHABLE, GUEST_IDENTITY_REFUSED or GUEST_REFUSED.
 */
export type Deliver = (
  guest: GuestName,
  address: string,
  secrets: readonly OpenedSecret[],
  limits: { timeoutMs: number; signal: AbortSignal },
) => Promise<void>;

/** Delivers over gRPC, TLS 1.3, with this service's certificate; the guest is verified by the guest authority and its URI. */
export function openGuestDelivery(options: {
  trustDomain: string;
  certificatePath: string;
  keyPath: string;
  guestCaPath: string;
  port: number;
  tokens: AgentTokens;
}): Deliver {
  return async (guest, address, secrets, { timeoutMs, signal }) => {
    const { trustDomain, port, tokens, ...files } = options;
    const expectedUri = guestUri(trustDomain, guest);
    const token = tokens.tokenFor(expectedUri);
    const agent = createGuestAgentClient({
      ...{ ...files, host: address, port, expectedUri, token, timeoutMs, maxReplyBytes },
    });
    const request = requestOf(secrets);
    try {
      await send(agent, request, { timeoutMs, signal });
    } catch (error) {
      throw guestFailure(error);
    } finally {
      for (const { value } of request.secrets) value?.value.fill(0);
      agent.close();
    }
  };
}

/** A guest that boots refuses connections at first: only that is tried again, until the time is over. */
async function send(
  { client }: GuestAgentClient,
  request: InjectSecretsRequest,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const attempt = async (): Promise<true | undefined> => {
    const leftMs = Math.ceil(deadline - performance.now());
    try {
      await client.injectSecrets(request, { signal, timeoutMs: Math.max(1, leftMs) });
      return true;
    } catch (error) {
      if (leftMs > reconnectIntervalMs && isConnectFailure(error)) return undefined;
      throw error;
    }
  };
  await waitFor("connection to the guest's agent", attempt, { timeoutMs, intervalMs: reconnectIntervalMs, signal });
}

function requestOf(secrets: readonly OpenedSecret[]): InjectSecretsRequest {
  return create(InjectSecretsRequestSchema, {
    secrets: secrets.map(({ name, version, target, value }) => ({
      name,
      version,
      value: { value: value.use((bytes) => Uint8Array.from(bytes)) },
      target: wireTarget(target),
    })),
  });
}

function wireTarget(target: Target) {
  switch (target.kind) {
    case "file":
      return { case: undefined };
    case "environment":
      return { case: "environmentVariable", value: target.variable } as const;
    case "configuration":
      return { case: "configurationPointer", value: target.pointer } as const;
  }
}
