import { build, type Plugin } from "esbuild";
import { decodedDescriptors } from "./decoded-descriptors.ts";

const guestRoot = new URL("..", import.meta.url).pathname;

/** The programs of an image, by their entry file below deploy/guest. */
export type Program = "agent/main.ts" | "gateway/main.ts" | "probe/main.ts" | "openclaw/main.ts";

/** The agent compresses nothing (`grpc-server.ts`): without this its transport would load zlib for what it never does. */
const withoutCompression: Plugin = {
  name: "without-compression",
  setup(bundle) {
    bundle.onLoad({ filter: /@connectrpc\/connect-node\/dist\/esm\/compression\.js$/ }, () => ({
      contents: "export const compressionGzip = undefined, compressionBrotli = undefined;",
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
    plugins: [decodedDescriptors, withoutCompression],
  });
}
