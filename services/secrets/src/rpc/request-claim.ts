import { create, type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import type { RequestLog } from "@lobsterd/chassis/idempotency.ts";

/**
 * For answers that hold a secret: writes down that `requestId` stands for this request, so that another request under the
 * same id is refused, and keeps no answer. The method itself has to be safe to repeat.
 */
export async function claimRequestId<Desc extends DescMessage>(
  requests: RequestLog,
  requestId: string,
  schema: Desc,
  request: MessageShape<Desc>,
): Promise<void> {
  await requests.run(requestId, schema.typeName, toBinary(schema, request), EmptySchema, async () =>
    create(EmptySchema),
  );
}
