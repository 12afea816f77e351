/** Hostile answers of a guest's agent, for the tests of what the host makes of them. */
import { randomBytes, randomInt } from "node:crypto";
import { create, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  AgentService,
  CreateIdentityKeyResponseSchema,
  HealthResponseSchema,
  SetClockResponseSchema,
  WorkloadState,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { refuseInvalidAnswer } from "./valid-answers.ts";

const span = {
  ...{ traceId: "a".repeat(32), spanId: "b".repeat(16), parentSpanId: "", name: "guest.boot" },
  ...{ startTime: timestampFromMs(1), endTime: timestampFromMs(2), failed: false },
};

/** A right answer for each of the messages that carry anything, from which the hostile ones are made. */
const seeds: readonly (readonly [DescMessage, Uint8Array])[] = [
  [
    HealthResponseSchema,
    toBinary(
      HealthResponseSchema,
      create(HealthResponseSchema, {
        ...{ vmId: "0".repeat(32), generation: 1, workloadState: WorkloadState.HEALTHY, spans: [span, span] },
      }),
    ),
  ],
  [
    CreateIdentityKeyResponseSchema,
    toBinary(
      CreateIdentityKeyResponseSchema,
      create(CreateIdentityKeyResponseSchema, { publicKey: randomBytes(91), proof: randomBytes(64) }),
    ),
  ],
  [
    SetClockResponseSchema,
    toBinary(SetClockResponseSchema, create(SetClockResponseSchema, { guestTime: timestampFromMs(1) })),
  ],
];

/** Changes of bytes: some keep the message readable, most do not. */
const mutations: readonly ((bytes: Buffer) => Buffer)[] = [
  (bytes) => bytes.subarray(0, randomInt(bytes.length + 1)),
  (bytes) => Buffer.concat([bytes, randomBytes(randomInt(64))]),
  (bytes) => Buffer.concat([bytes, bytes, bytes]),
  (bytes) => {
    for (let count = randomInt(8); count >= 0; count -= 1) bytes[randomInt(bytes.length)] = randomInt(256);
    return bytes;
  },
  (bytes) => {
    // Control characters and invalid UTF-8 where text is.
    bytes.fill([0, 10, 27, 127, 255][randomInt(5)] ?? 0, randomInt(bytes.length));
    return bytes;
  },
  () => randomBytes(randomInt(256)),
  () => Buffer.alloc(randomInt(4096), Buffer.from([0xc3, 0x3e])),
];

export interface FuzzOutcome {
  readonly taken: number;
  readonly refused: number;
}

/**
 * Has `count` hostile answers read as the client of a guest's agent reads them, and hands what is taken to `see`. An answer is taken or
 * refused by an Error; anything else that is thrown ends this.
 */
export function fuzzAnswers(count: number, see: (schema: DescMessage, answer: Message) => void): FuzzOutcome {
  const methods = AgentService.methods.map(({ output }) => output);
  let taken = 0;
  for (let index = 0; index < count; index += 1) {
    const [schema, seed] = seeds[index % seeds.length] ?? [HealthResponseSchema, new Uint8Array()];
    const mutate = mutations[randomInt(mutations.length)];
    const bytes = mutate?.(Buffer.from(seed)) ?? Buffer.from(seed);
    // Every eighth as the answer to another call.
    const target = index % 8 === 7 ? (methods[randomInt(methods.length)] ?? schema) : schema;
    try {
      const answer = fromBinary(target, bytes);
      refuseInvalidAnswer(target, answer);
      taken += 1;
      see(target, answer);
    } catch (error) {
      if (!(error instanceof Error) || error.name === "AssertionError") throw error;
    }
  }
  return { taken, refused: count - taken };
}
