/** The agent's real port and real processes, for tests of its streams. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import type { Client, ServiceImpl } from "@connectrpc/connect";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import type { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { Leaf } from "../image/boot-authority.ts";
import { CurrentIdentity } from "./current-identity.ts";
import { createGrpcServer, grpcLimits } from "./grpc-server.ts";
import { clientOf, countingHandlers, portOf, type TestGuest } from "./testing.ts";

/** A guest's port with these handlers, and its host's client. */
export async function serveAgent(
  t: TestContext,
  guest: TestGuest,
  vm: Leaf,
  handlers: Partial<ServiceImpl<typeof AgentService>>,
): Promise<Client<typeof AgentService>> {
  // What is unary has no time here at all: a stream that had its limit would be cut.
  const limits = { ...grpcLimits, callMs: 1 };
  const all = { ...countingHandlers().handlers, ...handlers };
  const grpc = createGrpcServer(new CurrentIdentity(guest.identity), all, limits);
  grpc.server.listen(0, "127.0.0.1");
  await once(grpc.server, "listening");
  const { client, close } = clientOf(guest, portOf(grpc.server), { leaf: vm, token: guest.tokens.vm });
  t.after(async () => {
    close();
    await grpc.drain(1_000);
  });
  return client;
}

/** Bytes that a process has written so far; 0 when it has ended. */
export function writtenBy(pid: number): number {
  try {
    return Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
  } catch {
    return 0;
  }
}

/** Resolves when there is no such process, or nobody but its parent knows of it any more. */
export async function gone(pid: number): Promise<void> {
  assert.ok(pid > 1);
  const probe = async () => (/^[^Z]$/.test(stateOf(pid)) ? undefined : true);
  await waitFor(`the end of ${pid}`, probe, { timeoutMs: 30_000, intervalMs: 20 });
}

/** The letter that the kernel has for it; empty when there is no such process. */
function stateOf(pid: number): string {
  try {
    return /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
  } catch {
    return "";
  }
}
