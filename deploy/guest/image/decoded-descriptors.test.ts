import assert from "node:assert/strict";
import { before, test } from "node:test";
import { create, type DescFile, type DescMessage, type fromBinary, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { file_google_rpc_error_details } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { ExecRequestSchema, file_lobsterd_agent_v1_agent } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { build } from "esbuild";
import { decodedDescriptors, withDecodedDescriptor } from "./decoded-descriptors.ts";

const entry = `
  export { create, fromBinary, toBinary } from "@bufbuild/protobuf";
  export { file_lobsterd_agent_v1_agent as agent, ExecRequestSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
  export { file_google_rpc_error_details as details } from "@lobsterd/proto/google/rpc/error_details_pb.ts";`;

interface Bundled {
  readonly agent: DescFile;
  readonly details: DescFile;
  readonly ExecRequestSchema: typeof ExecRequestSchema;
  readonly create: typeof create;
  readonly fromBinary: typeof fromBinary;
  readonly toBinary: typeof toBinary;
}

let text = "";
let bundled: Bundled;
before(async () => {
  const { outputFiles } = await build({
    stdin: { contents: entry, resolveDir: import.meta.dirname, loader: "ts" },
    ...{ bundle: true, write: false, format: "esm", platform: "node", logLevel: "silent" },
    plugins: [decodedDescriptors],
  });
  text = outputFiles[0]?.text ?? "";
  bundled = await import(`data:text/javascript;base64,${Buffer.from(text).toString("base64")}`);
});

/** Everything of a file's messages and methods that encoding, decoding and calling depends on. */
function shapeOf(file: DescFile) {
  return [...nestedTypes(file)].map((type) => {
    if (type.kind === "message") return [type.typeName, fieldsOf(type)];
    if (type.kind === "enum") return [type.typeName, type.open, type.values.map((value) => [value.name, value.number])];
    if (type.kind !== "service") return [type.typeName];
    const methods = type.methods.map(({ name, methodKind, input, output, idempotency }) => {
      return [name, methodKind, input.typeName, output.typeName, idempotency];
    });
    return [type.typeName, methods];
  });
}

/** What is said of each field in words and numbers, and of which type it is. */
const fieldsOf = ({ fields }: DescMessage) =>
  fields.map((field) => [
    ...[field.toString(), field.message?.typeName, field.enum?.typeName, field.oneof?.name],
    Object.fromEntries(
      Object.entries(field).filter(([, value]) => typeof value !== "object" && typeof value !== "function"),
    ),
  ]);

test("what a bundle knows of its messages and methods is what was generated", () => {
  assert.ok(shapeOf(file_lobsterd_agent_v1_agent).length > 20);
  assert.deepEqual(shapeOf(bundled.agent), shapeOf(file_lobsterd_agent_v1_agent));
  assert.deepEqual(shapeOf(bundled.details), shapeOf(file_google_rpc_error_details));
});

test("a message is the same bytes, and what it does not know is kept", () => {
  const value = {
    message: { case: "start" as const, value: { command: ["ls", "-l"], terminal: { rows: 24, columns: 80 } } },
  };
  const bytes = toBinary(ExecRequestSchema, create(ExecRequestSchema, value));
  assert.deepEqual(
    bundled.toBinary(bundled.ExecRequestSchema, bundled.create(bundled.ExecRequestSchema, value)),
    bytes,
  );
  const more = new Uint8Array([...bytes, 0xf8, 0x07, 0x01]);
  assert.equal(bundled.fromBinary(bundled.ExecRequestSchema, more).$unknown?.length, 1);
});

test("the descriptor of descriptors, and files that only define options, are not in it", () => {
  for (const absent of ["google.protobuf.FieldOptions", "buf.validate.FieldRules", "AuditRule", "base64Decode"])
    assert.ok(!text.includes(absent), absent);
});

test("a file of another syntax stays as it is", () => {
  // FileDescriptorProto {name: "a.proto"}
  const generated = 'export const file = fileDesc("CgdhLnByb3Rv");';
  assert.equal(withDecodedDescriptor(generated), generated);
});
