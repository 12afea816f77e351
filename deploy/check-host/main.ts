/** `make check-host`: the rows of CheckHost for this machine, without a running stack. */
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { type ConntrackNumbers, readInteger } from "@lobsterd/vm/posture/control.ts";
import { shippedRiskRegisterPath } from "@lobsterd/vm/posture/controls/residual-risks.ts";
import { type HostFiles, openHostFiles, type Reading } from "@lobsterd/vm/posture/host-files.ts";
import { shippedVersionsPath } from "@lobsterd/vm/posture/known-versions.ts";
import { createHostLook } from "@lobsterd/vm/posture/look.ts";
import { blockers } from "@lobsterd/vm/posture/report.ts";
import { renderJson, renderTable } from "./table.ts";

const usage = `usage: node deploy/check-host/main.ts [options]
   or: make check-host [ARGS="options"]

Judges this machine as a host for tenants and prints one row for each control. Changes nothing.

  --json                 every field as JSON
  --slots N              microVMs that the host is to hold, for the connection table (default 64)
  --waivers FILE         default /etc/lobsterd/waivers.json
  --attestations FILE    default /etc/lobsterd/attestations.json
  --known-versions FILE  table of known versions, default the one of this release
  --root-key FILE        secrets' root key, and
  --secrets-store DIR    the directory of what it seals: are they on one device?
  --help                 this text

Exit status: 0 if production would admit tenants, 1 if a required control (P0) is failed or unknown, 2 for a wrong option.
The VMM in use is judged by CheckHost, which a running stack answers.
`;

const lineWidth = 160;

class UsageError extends Error {}

async function main(parameters: readonly string[]): Promise<number> {
  const options = parse(parameters);
  if (options.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const files = openHostFiles();
  const { "root-key": keyPath, "secrets-store": storeDir } = options;
  if ((keyPath === undefined) !== (storeDir === undefined)) {
    throw new UsageError("--root-key and --secrets-store go together");
  }
  const report = await createHostLook({
    files,
    slotCount: slotsOf(options.slots),
    inService: false,
    paths: {
      waivers: options.waivers,
      attestations: options.attestations,
      knownVersions: options["known-versions"] ?? shippedVersionsPath,
      riskRegister: shippedRiskRegisterPath,
    },
    rootKey: keyPath === undefined || storeDir === undefined ? undefined : { keyDir: dirname(keyPath), storeDir },
    nodeVersion: process.versions.node,
    describeVmm: async () => undefined,
    readConntrack: () => readConntrack(files),
    now: Date.now,
  })();
  process.stdout.write(
    options.json === true ? renderJson(report) : renderTable(report, process.stdout.columns ?? lineWidth),
  );
  return blockers(report).length === 0 ? 0 : 1;
}

function parse(parameters: readonly string[]) {
  const path = { type: "string" } as const;
  try {
    return parseArgs({
      args: [...parameters],
      options: {
        json: { type: "boolean" },
        slots: { type: "string", default: "64" },
        waivers: { ...path, default: "/etc/lobsterd/waivers.json" },
        attestations: { ...path, default: "/etc/lobsterd/attestations.json" },
        ...{ "known-versions": path, "root-key": path, "secrets-store": path },
        help: { type: "boolean", short: "h" },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function slotsOf(text: string): number {
  const slots = Number(text);
  if (!/^\d{1,5}$/.test(text) || slots < 1 || slots > 32_768) throw new UsageError(`--slots ${text}: 1 to 32768`);
  return slots;
}

/** In this process's network namespace: the machine's own, before a stack runs. */
async function readConntrack(files: HostFiles): Promise<Reading<ConntrackNumbers>> {
  const directory = "/proc/sys/net/netfilter";
  const max = await readInteger(files, `${directory}/nf_conntrack_max`);
  const buckets = await readInteger(files, `${directory}/nf_conntrack_buckets`);
  const established = await readInteger(files, `${directory}/nf_conntrack_tcp_timeout_established`);
  if (!max.ok) return max;
  if (!buckets.ok) return buckets;
  if (!established.ok) return established;
  return { ok: true, value: { max: max.value, buckets: buckets.value, establishedTimeoutSeconds: established.value } };
}

main(process.argv.slice(2)).then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    if (error instanceof UsageError) process.stderr.write(usage);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  },
);
