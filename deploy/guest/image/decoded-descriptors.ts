import { readFile } from "node:fs/promises";
import { fromBinary } from "@bufbuild/protobuf";
import { protoCamelCase } from "@bufbuild/protobuf/reflect";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { type DescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import type { Loader, Plugin } from "esbuild";

/** Files that others import for the options that they define, which nothing of the agent reads: the generated file, and the proto's name and package. */
const optionFiles: readonly { readonly filter: RegExp; readonly name: string; readonly package: string }[] = [
  { filter: /buf\/validate\/validate_pb\.js$/, name: "buf/validate/validate.proto", package: "buf.validate" },
  {
    filter: /lobsterd\/common\/v1\/audit_pb\.ts$/,
    name: "lobsterd/common/v1/audit.proto",
    package: "lobsterd.common.v1",
  },
];

/** Takes the place of the library's own: there is nothing to decode. Like that one it does not check what was checked when it was generated. */
const fileDesc = `
import { createEmbeddedFileRegistry } from "../registry.js";
export function fileDesc(literal, imports = []) {
  if (typeof literal === "string") throw new Error("a file that is not of proto3 is not decoded");
  const dependency = imports.map((file) => file.proto.name);
  const proto = { $typeName: "google.protobuf.FileDescriptorProto", ...literal, dependency };
  return createEmbeddedFileRegistry(proto, (name) => imports.find((file) => file.proto.name === name)).getFile(proto.name);
}`;

/** What a registry never reads of a descriptor, extensions among options included. */
const unread: ReadonlySet<string> = new Set([
  ...["$typeName", "$unknown", "dependency", "publicDependency", "weakDependency", "optionDependency"],
  ...["reservedRange", "reservedName", "extensionRange", "targets", "editionDefaults", "uninterpretedOption"],
]);

/**
 * Decodes the protobuf descriptors of a bundle when it is made. A program that decodes them itself has to set up the descriptor of descriptors first: under
 * emulation a quarter of the time in which the agent loads. Options that are extensions, and the files that define them, are left out.
 */
export const decodedDescriptors: Plugin = {
  name: "decoded-descriptors",
  setup(bundle) {
    bundle.onLoad({ filter: /@bufbuild\/protobuf\/dist\/esm\/codegenv2\/file\.js$/ }, () => ({ contents: fileDesc }));
    for (const { filter, ...file } of optionFiles) {
      const symbol = `file_${file.name.replace(/\.proto$/, "").replaceAll("/", "_")}`;
      bundle.onLoad({ filter }, () => ({
        contents: `import { fileDesc } from "@bufbuild/protobuf/codegenv2";
          export const ${symbol} = /*@__PURE__*/ fileDesc(${JSON.stringify(emptyFile(file))});`,
        resolveDir: import.meta.dirname,
      }));
    }
    bundle.onLoad({ filter: /_pb\.(js|ts)$/ }, async ({ path }) => ({
      contents: withDecodedDescriptor(await readFile(path, "utf8")),
      loader: path.split(".").pop() as Loader,
    }));
  },
};

function emptyFile(file: { readonly name: string; readonly package: string }) {
  return { ...file, syntax: "proto3", messageType: [], enumType: [], service: [], extension: [] };
}

/** The text of a generated file, with its descriptor as an object in place of base64. A file of another syntax stays as it is, and cannot be loaded. */
export function withDecodedDescriptor(generated: string): string {
  return generated.replace(/\bfileDesc\("([A-Za-z0-9+/=]+)"/, (call, base64: string) => {
    const proto = fromBinary(FileDescriptorProtoSchema, base64Decode(base64));
    // Defaults that proto2 gives to absent fields are on prototypes, which a literal has not.
    if (proto.syntax !== "proto3") return call;
    proto.messageType.forEach(nameFieldsInJson);
    return `fileDesc(${JSON.stringify(plain(proto))}`;
  });
}

/** What is set in a message and read of it, as objects and arrays. Options of which nothing is left are left out. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const read = Object.entries(value).flatMap(([name, part]) =>
    unread.has(name) ? [] : [[name, plain(part)] as const],
  );
  return Object.fromEntries(read.filter(([name, part]) => name !== "options" || Object.keys(Object(part)).length > 0));
}

function nameFieldsInJson({ field, nestedType }: DescriptorProto): void {
  for (const each of field) each.jsonName ||= protoCamelCase(each.name);
  nestedType.forEach(nameFieldsInJson);
}
