import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext } from "@connectrpc/connect";
import { CreateIdentityKeyRequestSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type AgentParts, agentHandlers } from "./agent-service.ts";

type Wish = MessageInitShape<typeof CreateIdentityKeyRequestSchema>;

/** Asks for a key and returns what happened, in order. */
async function asking(wish: Wish, setTo: (ms: number) => void = () => undefined): Promise<readonly string[]> {
  const done: string[] = [];
  const parts = {
    ...{ workload: { output: {} }, account: {}, activity: {} },
    mixEntropy: (bytes: Uint8Array) => void done.push(`mix ${bytes.length}`),
    clock: {
      setTo: async (ms: number) => {
        setTo(ms);
        done.push(`clock ${ms}`);
      },
    },
    renewal: {
      createKey: (generation: number) => {
        done.push(`key ${generation}`);
        return { publicKey: new Uint8Array(91), proof: new Uint8Array(64) };
      },
    },
  } as unknown as AgentParts;
  const request = create(CreateIdentityKeyRequestSchema, { generation: 2, ...wish });
  try {
    await agentHandlers(parts).createIdentityKey(request, {} as HandlerContext);
  } catch {
    done.push("refused");
  }
  return done;
}

const clock = () => ({ hostTime: timestampFromMs(5_000), entropy: { value: new Uint8Array(64).fill(7) } });

test("a key is made after the host's bytes were mixed and its time was taken", async () => {
  assert.deepEqual(await asking({ clock: clock() }), ["mix 64", "clock 5000", "key 2"]);
});

test("without time, with other randomness, or where the clock refuses, no key is made", async () => {
  const backwards = () => {
    throw new Error("told a later time before");
  };
  assert.deepEqual(await asking({}), ["refused"]);
  assert.deepEqual(await asking({ clock: { ...clock(), entropy: { value: new Uint8Array(63) } } }), ["refused"]);
  assert.deepEqual(await asking({ clock: { entropy: { value: new Uint8Array(64) } } }), ["refused"]);
  assert.deepEqual(await asking({ clock: clock() }, backwards), ["mix 64", "refused"]);
});
