import { parseArgs } from "node:util";
import { lockPath, readArtifactLock } from "@lobsterd/vm/launcher/artifacts/lock.ts";
import { launcherConfigSchema } from "@lobsterd/vm/launcher/config.ts";
import { downloadFile, installFirecracker, ReleaseRefusedError } from "./firecracker-release.ts";

const defaultDirectory = launcherConfigSchema.shape.vmm.parse({}).firecrackerDir;

const help = `Installs the locked release of Firecracker and its jailer, and nothing else. Needs root.

  node deploy/host/firecracker.ts [--archive FILE] [--dir DIR]

  --archive FILE  the release's .tgz, where this machine has no way to it
  --dir DIR       where the programs go (default: ${defaultDirectory}, which is where the launcher looks)
  --help          this text

lock file: ${lockPath}
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { archive: { type: "string" }, dir: { type: "string" }, help: { type: "boolean", default: false } },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  if (process.getuid?.() !== 0) throw new ReleaseRefusedError("only root can install what root starts");
  await installFirecracker({
    lock: readArtifactLock(),
    directory: values.dir ?? defaultDirectory,
    ...(values.archive === undefined ? {} : { archivePath: values.archive }),
    architecture: process.arch,
    download: downloadFile,
    progress: (line) => process.stdout.write(`firecracker: ${line}\n`),
  });
  return 0;
}

main().then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    const cause = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : "";
    process.stderr.write(
      `firecracker: nothing was installed: ${error instanceof Error ? error.message : error}${cause}\n`,
    );
    process.exitCode = 1;
  },
);
