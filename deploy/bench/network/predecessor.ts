import { type ChildProcess, spawn } from "node:child_process";
import { createProcessRunner } from "@lobsterd/net/host/process.ts";
import { connect } from "@lobsterd/net/testing/ground.ts";
import { callsOf } from "./child-calls.ts";
import type { DataPath } from "./data-path.ts";
import { predecessorTenant } from "./predecessor-host.ts";

let sequence = 0;

/** A host of its own with so many tenants of the predecessor's kind. */
export interface PredecessorWorld {
  readonly tenants: number;
  /** Milliseconds of one tenant more and of the same one less. */
  spawn(): Promise<number>;
  evict(): Promise<number>;
  /** From the last tenant to the outside. */
  readonly path: DataPath;
  close(): Promise<void>;
}

export async function makePredecessorWorld(tenants: number): Promise<PredecessorWorld> {
  const root = createProcessRunner();
  const prefix = `lobbench-${process.pid}-${++sequence}`;
  const pathOf = (name: string): string => `/run/netns/${prefix}-${name}`;
  const names = ["host", "far", "guest"] as const;
  const made: string[] = [];
  let child: ChildProcess | undefined;

  async function close(): Promise<void> {
    child?.kill("SIGKILL");
    for (const name of made) await root.run(["ip", "netns", "delete", `${prefix}-${name}`], { timeoutMs: 60_000 });
  }

  try {
    for (const name of names) {
      await root.run(["ip", "netns", "add", `${prefix}-${name}`]);
      made.push(name);
    }
    const host = createProcessRunner(pathOf("host"));
    await connect(host, "up0", "45.0.0.1/24", pathOf("far"), "45.0.0.2/24");
    const file = new URL("./predecessor-host.ts", import.meta.url).pathname;
    child = spawn("nsenter", [`--net=${pathOf("host")}`, "--", process.execPath, file], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const call = callsOf(child);
    await call("prepare", tenants);
    await plug(host, pathOf("guest"), tenants);
    return {
      tenants,
      spawn: async () => Number(await call("spawn", tenants + 1)),
      evict: async () => Number(await call("evict", tenants + 1)),
      path: { guestPath: pathOf("guest"), farPath: pathOf("far"), farAddress: "45.0.0.2" },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A namespace with a kernel of its own in the place of the last tenant's microVM, as our own bench has it. */
async function plug(host: ReturnType<typeof createProcessRunner>, guestPath: string, index: number): Promise<void> {
  const { tap, hostAddress, guestAddress } = predecessorTenant(index);
  const lines = (...text: string[]): { input: string } => ({ input: text.map((line) => `${line}\n`).join("") });
  const near = lines(
    `link delete dev ${tap}`,
    `link add name ${tap} type veth peer name eth0 netns ${guestPath}`,
    `address add ${hostAddress}/30 dev ${tap}`,
    `link set dev ${tap} up`,
  );
  await host.run(["ip", "-batch", "-"], near);
  const inside = lines(
    "link set dev lo up",
    `address add ${guestAddress}/30 dev eth0`,
    "link set dev eth0 up",
    `route add default via ${hostAddress} dev eth0`,
  );
  await createProcessRunner(guestPath).run(["ip", "-batch", "-"], inside);
}
