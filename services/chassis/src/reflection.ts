import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import {
  ServerReflection as ReflectionV1,
  type ServerReflectionRequest as RequestV1,
} from "@lobsterd/proto/grpc/reflection/v1/reflection_pb.ts";
import {
  ServerReflection as ReflectionV1Alpha,
  type ServerReflectionRequest as RequestV1Alpha,
} from "@lobsterd/proto/grpc/reflection/v1alpha/reflection_pb.ts";
import { type DescriptorIndex, indexDescriptors } from "./descriptor-index.ts";
import { defineErrors } from "./errors.ts";
import { defineRoutes, type Routes } from "./routes.ts";

/** Both versions have the same fields under different type names: plain values fit either. */
type Question = RequestV1 | RequestV1Alpha;
type Answer =
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: "allExtensionNumbersResponse"; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: "errorResponse"; value: { errorCode: Code; errorMessage: string } };

/** More than any client asks in one stream; a stream is open for as long as its deadline. */
const maxQuestions = 1000;

const fail = defineErrors("lobsterd", { TOO_MANY_QUESTIONS: Code.ResourceExhausted });

/** Server reflection for `services` and for itself, as v1 and as v1alpha, which older clients ask first. */
export function createReflection(services: readonly DescService[]): Routes[] {
  const all = [...services, ReflectionV1, ReflectionV1Alpha];
  const index = indexDescriptors(all);
  const names = all.map(({ typeName }) => ({ name: typeName }));
  return [
    defineRoutes(ReflectionV1, { serverReflectionInfo: (questions) => answerAll(questions, index, names) }),
    defineRoutes(ReflectionV1Alpha, { serverReflectionInfo: (questions) => answerAll(questions, index, names) }),
  ];
}

async function* answerAll<Q extends Question>(
  questions: AsyncIterable<Q>,
  index: DescriptorIndex,
  names: { name: string }[],
): AsyncGenerator<{ validHost: string; originalRequest: Q; messageResponse: Answer }> {
  const sent = new Set<string>();
  let count = 0;
  for await (const question of questions) {
    count += 1;
    if (count > maxQuestions) throw fail("TOO_MANY_QUESTIONS", `at most ${maxQuestions} questions in one stream`);
    yield {
      validHost: question.host,
      originalRequest: question,
      messageResponse: answer(question.messageRequest, index, names, sent),
    };
  }
}

function answer(
  question: Question["messageRequest"],
  index: DescriptorIndex,
  names: { name: string }[],
  sent: Set<string>,
): Answer {
  switch (question.case) {
    case "listServices":
      return { case: "listServicesResponse", value: { service: names } };
    case "fileByFilename":
      return files(index.byName.get(question.value), sent, question.value);
    case "fileContainingSymbol":
      return files(index.bySymbol.get(question.value), sent, question.value);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      return files(index.byExtension.get(containingType)?.get(extensionNumber), sent, containingType);
    }
    case "allExtensionNumbersOfType": {
      const numbers = index.byExtension.get(question.value);
      if (numbers === undefined && !index.bySymbol.has(question.value)) return notFound(question.value);
      const value = { baseTypeName: question.value, extensionNumber: [...(numbers?.keys() ?? [])] };
      return { case: "allExtensionNumbersResponse", value };
    }
    default:
      return {
        case: "errorResponse",
        value: { errorCode: Code.InvalidArgument, errorMessage: "the question is missing" },
      };
  }
}

/** A file and what it imports, each once per stream. */
function files(file: DescFile | undefined, sent: Set<string>, asked: string): Answer {
  if (file === undefined) return notFound(asked);
  const encoded: Uint8Array[] = [];
  const seen = new Set<string>();
  const visit = (next: DescFile): void => {
    if (seen.has(next.name)) return;
    seen.add(next.name);
    // What was asked for is answered even if it was sent before, since an empty answer reads as an error.
    if (next === file || !sent.has(next.name)) encoded.push(toBinary(FileDescriptorProtoSchema, next.proto));
    sent.add(next.name);
    for (const dependency of next.dependencies) visit(dependency);
  };
  visit(file);
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: encoded } };
}

function notFound(name: string): Answer {
  return {
    case: "errorResponse",
    value: { errorCode: Code.NotFound, errorMessage: `not found: ${name.slice(0, 256)}` },
  };
}
