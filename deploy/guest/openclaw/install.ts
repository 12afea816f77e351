import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { runTool } from "../image/tool.ts";

const here = new URL(".", import.meta.url).pathname;

/**
 * What no gateway of a tenant uses: drivers of a desktop and of a local browser, which a microVM has not, a compiler, and the web console,
 * which the platform's configuration turns off. Every channel stays.
 */
const unusedPackages = ["@trycua", "chrome-devtools-mcp", "clawpdf", "playwright-core", "typescript"];
const unusedDirectories = ["openclaw/docs", "openclaw/dist/control-ui"];
/**
 * Says that the package's own install scripts have not run. They remove what an update in place left and fetch a native package that npm lost, neither of
 * which a fresh install from a lock file has; as long as the file is there the gateway runs them itself, in a file system that it cannot write to.
 */
const pendingScriptsMarker = "openclaw/.openclaw-lifecycle-pending";
const unusedFiles = /(\.map|\.d\.[cm]?ts|^CHANGELOG.*)$/;

/** Emulated guests need minutes where OpenClaw allows its helper 5 s, with no setting for it. */
const emulationPatch = {
  from: /LEASE_HEARTBEAT_START_TIMEOUT_MS\s*=\s*5e3/g,
  to: "LEASE_HEARTBEAT_START_TIMEOUT_MS=18e4",
};

export interface OpenClawOptions {
  /** For guests that are emulated, in development only: waits longer for its own helpers. */
  readonly emulated: boolean;
}

/** Installs the locked OpenClaw without running any of its scripts into `target`/node_modules, and takes out what a tenant never uses. */
export async function installOpenClaw(target: string, options: OpenClawOptions): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const name of ["package.json", "package-lock.json"]) await copyFile(join(here, name), join(target, name));
  const flags = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  // The caller's npm with the caller's settings: where the registry is, and whose certificates it has. The lock file says what comes of it.
  await runTool(["npm", "ci", ...flags], { cwd: target, timeoutMs: 600_000, environment: process.env });
  const modules = join(target, "node_modules");
  for (const name of [".package-lock.json", pendingScriptsMarker, ...unusedDirectories])
    await remove(join(modules, name));
  for (const root of ["", "openclaw/node_modules"]) {
    for (const name of unusedPackages) await remove(join(modules, root, name));
  }
  await prune(modules, options.emulated);
}

async function prune(directory: string, emulated: boolean): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    // Links to programs, for a shell that is not there.
    if (entry.name === ".bin") await remove(path);
    else if (entry.isDirectory()) await prune(path, emulated);
    else if (isUnused(path)) await remove(path);
    else if (emulated && /openclaw\/dist\/.*\.m?js$/.test(path)) await patch(path);
  }
}

/** OpenClaw reads Markdown of its own at run time, its skills and prompts; other packages' is for people. */
function isUnused(path: string): boolean {
  const name = basename(path);
  return unusedFiles.test(name) || (name.endsWith(".md") && !path.includes("node_modules/openclaw/"));
}

async function patch(path: string): Promise<void> {
  const text = await readFile(path, "utf8");
  const patched = text.replace(emulationPatch.from, emulationPatch.to);
  if (patched !== text) await writeFile(path, patched);
}

async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}
