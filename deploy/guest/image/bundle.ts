import { build, type Plugin } from "esbuild";

const guestRoot = new URL("..", import.meta.url).pathname;

/** The programs of an image, by their entry file below deploy/guest. */
export type Program = "agent/main.ts" | "gateway/main.ts" | "probe/main.ts" | "openclaw/main.ts";

/** FileDescriptorProto {name: "buf/validate/validate.proto", package: "buf.validate"} in base64. */
const emptyValidateFile = "ChtidWYvdmFsaWRhdGUvdmFsaWRhdGUucHJvdG8SDGJ1Zi52YWxpZGF0ZQ";

/**
 * Replaces the descriptor of protovalidate's rules by an empty file of the same name. The agent checks its few fields by hand, and
 * decoding that descriptor at start took a third of the agent's own start-up time under TCG.
 */
const withoutValidationRules: Plugin = {
  name: "without-validation-rules",
  setup(bundle) {
    bundle.onLoad({ filter: /buf\/validate\/validate_pb\.js$/ }, () => ({
      contents: `import { fileDesc } from "@bufbuild/protobuf/codegenv2";
        export const file_buf_validate_validate = fileDesc("${emptyValidateFile}");`,
      resolveDir: guestRoot,
    }));
  },
};

/** Bundles one program to a single minified CommonJS file: parsing and resolving files is what start-up under TCG is made of. */
export async function bundleProgram(program: Program): Promise<string> {
  const [output] = (await bundle(program)).outputFiles;
  if (output === undefined) throw new Error(`esbuild wrote nothing for ${program}`);
  return output.text;
}

/** Files of npm packages that a program's bundle has code of, from `node_modules/` on. */
export async function bundledModules(program: Program): Promise<string[]> {
  const { inputs } = (await bundle(program)).metafile;
  return Object.keys(inputs).flatMap((path) => /node_modules\/.*$/.exec(path)?.[0] ?? []);
}

function bundle(program: Program) {
  return build({
    entryPoints: [program],
    absWorkingDir: guestRoot,
    bundle: true,
    write: false,
    metafile: true,
    platform: "node",
    target: "node24",
    format: "cjs",
    minify: true,
    treeShaking: true,
    legalComments: "none",
    logLevel: "silent",
    plugins: [withoutValidationRules],
  });
}
