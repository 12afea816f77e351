/**
 * A host that exists in memory, for the unit tests of the lifecycle: it remembers what exists, and can be told to fail. The
 * double of each part is in the file that is named after it, what can be made to fail in `fake-failures.ts`.
 */

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { RouteService, RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { createFakeVmm, type FakeVmm, type FakeVmmOptions } from "../vmm/fake.ts";
import { type FakeAudit, fakeAudit } from "./fake-audit.ts";
import type { AskedFailures } from "./fake-failures.ts";
import { type FakeGuests, fakeGuestAgents } from "./fake-guests.ts";
import { type FakeNet, networkHandlers } from "./fake-net.ts";
import { type FakeProxy, routeHandlers } from "./fake-proxy.ts";
import { type FakeSecrets, secretHandlers } from "./fake-secrets.ts";
import { failingVmm } from "./fake-vmm.ts";
import type { HostParts } from "./host-parts.ts";
import { openSleepFiles, type SleepFiles } from "./sleep-files.ts";

/** What exists apart from microVMs and files, and what a test has asked for. */
type State = FakeNet & FakeProxy & FakeSecrets & FakeAudit & FakeGuests & AskedFailures;

export interface FakeHost extends State {
  readonly parts: HostParts;
  readonly vmm: FakeVmm;
  /** A directory of sealed files and one of spooled states, on a tmpfs. */
  readonly directory: string;
  readonly files: SleepFiles;
  readonly facts: { cpuModel: string; microcode: string; hostKernel: string };
  /** Everything that exists, as sorted lines. Empty: nothing is left. */
  inventory(): Promise<readonly string[]>;
}

export interface FakeHostOptions extends FakeVmmOptions {
  readonly connectionMax?: number;
}

export function createFakeHost(options: FakeHostOptions = {}): FakeHost {
  const state: State = {
    ...{ networks: new Map(), usage: new Map(), drifts: [] },
    routes: new Map(),
    ...{ identities: new Set(), keys: new Set() },
    audited: [],
    ...{ guests: new Map(), workloads: new Map(), claims: new Map(), renewed: [] },
    ...{ failing: new Set(), refusing: new Map(), holding: new Map(), stubborn: new Set() },
  };
  const vmm = createFakeVmm(options);
  const directory = mkdtempSync(join(scratch(), "host-"));
  const transport = createRouterTransport(({ service }) => {
    service(NetworkService, networkHandlers(state));
    service(RouteService, routeHandlers(state));
    service(SecretService, secretHandlers(state));
  });
  const parts: HostParts = {
    vmm: failingVmm(vmm, state),
    readConnectionMax: async () => options.connectionMax,
    net: createClient(NetworkService, transport),
    proxy: createClient(RouteService, transport),
    secrets: createClient(SecretService, transport),
    audit: fakeAudit(state),
    guests: fakeGuestAgents(state, vmm),
  };
  const { networks, routes, identities } = state;
  return {
    ...state,
    ...{ parts, vmm, directory },
    files: openSleepFiles(join(directory, "sealed"), join(directory, "spool")),
    facts: { cpuModel: "cpu", microcode: "0x1", hostKernel: "6.1" },
    inventory: async () =>
      [
        ...[...networks.keys()].map((vmId) => `network ${vmId}`),
        ...[...routes].map(([tenant, { state }]) => `${state === RouteState.ASLEEP ? "asleep-" : ""}route ${tenant}`),
        ...[...identities].map((vmId) => `identity ${vmId}`),
        ...(await vmm.list()).map(({ vmId }) => `microvm ${vmId}`),
        ...["sealed", "spool", "backups"]
          .filter((name) => existsSync(join(directory, name)))
          .flatMap((name) => readdirSync(join(directory, name)).map((file) => `${name} ${file}`)),
      ].sort(),
  };
}

let scratchDirectory: string | undefined;

/** One directory for all hosts of a test file, removed with its process. */
function scratch(): string {
  if (scratchDirectory !== undefined) return scratchDirectory;
  const made = mkdtempSync("/dev/shm/lobsterd-fake-host-");
  // A hook of the test that happens to be first would take it away from the others.
  process.once("exit", () => rmSync(made, { recursive: true, force: true }));
  scratchDirectory = made;
  return made;
}
