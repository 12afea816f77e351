import type { DescMessage, Message } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { hookMessages } from "./streams.ts";

const validator = createValidator();

/** Throws DATA_LOSS when `answer` breaks the rules that the proto has for it. The failure quotes nothing of the answer. */
export function refuseInvalidAnswer(schema: DescMessage, answer: Message): void {
  const { kind } = validator.validate(schema, answer);
  if (kind !== "valid") throw new ConnectError("the peer's answer is outside its contract", Code.DataLoss);
}

/**
 * Checks every answer against the rules of its proto, for peers that are hostile: what a caller of the client gets is within the
 * bounds that the proto names, or an error.
 */
export const onlyValidAnswers: Interceptor = (next) => async (request) => {
  const response = await next(request);
  const { output } = response.method;
  if (response.stream) {
    const message = (answer: Message) => refuseInvalidAnswer(output, answer);
    return { ...response, message: hookMessages(response.message, { message }) };
  }
  refuseInvalidAnswer(output, response.message);
  return response;
};
