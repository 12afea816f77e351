/**
 * A process in a namespace that gives tenants networks as the predecessor does: one tap each, and rules appended one by one to chains
 * that all tenants share, a process for each step. It is told over IPC what to do; answers are `{ id, result }`. Only ever started
 * inside a namespace of the bench's own.
 */
import { execFile, spawn } from "node:child_process";

export interface PredecessorCommands {
  /** The chains and their jumps, and the first `count` tenants at once. */
  prepare(count: number): Promise<"prepared">;
  /** One tenant more: 21 processes. Milliseconds. */
  spawn(index: number): Promise<number>;
  /** One tenant less: 18 processes. Milliseconds. */
  evict(index: number): Promise<number>;
}

const iptables = "iptables-nft";
const chains = { in: "LOBSTER-INPUT", forward: "LOBSTER-FORWARD", out: "LOBSTER-OUTPUT" } as const;
const established = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED"];
const privateRanges = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"];

type Words = readonly string[];

export interface PredecessorTenant {
  readonly tap: string;
  readonly hostAddress: string;
  readonly guestAddress: string;
  readonly gatewayPort: number;
}

/** Tenants count from 1. */
export function predecessorTenant(index: number): PredecessorTenant {
  const address = (offset: number): string => {
    const number = 4 * index + offset;
    return `10.${number >>> 16}.${(number >>> 8) & 255}.${number & 255}`;
  };
  return { tap: `tap-t${index}`, hostAddress: address(1), guestAddress: address(2), gatewayPort: 9000 + index };
}

function links({ tap, hostAddress }: PredecessorTenant): Words[] {
  return [
    ["ip", "tuntap", "add", "dev", tap, "mode", "tap"],
    ["ip", "addr", "add", `${hostAddress}/30`, "dev", tap],
    ["ip", "link", "set", tap, "up"],
    ["sysctl", "-w", `net.ipv6.conf.${tap}.disable_ipv6=1`],
  ];
}

/** What follows `iptables -A` or `-D`, less `-t nat`. */
function translations({ tap, guestAddress, gatewayPort }: PredecessorTenant): Words[] {
  const published = ["-p", "tcp", "!", "-s", "10.0.0.0/8", "--dport", String(gatewayPort)];
  return [
    ["PREROUTING", ...published, "-j", "DNAT", "--to-destination", `${guestAddress}:9000`],
    ["POSTROUTING", "-o", tap, "-j", "MASQUERADE"],
    ["POSTROUTING", "-s", guestAddress, "!", "-o", tap, "-j", "MASQUERADE"],
  ];
}

function isolation({ tap }: PredecessorTenant): Words[] {
  return [
    [chains.in, "-i", tap, ...established, "-j", "ACCEPT"],
    [chains.in, "-i", tap, "-j", "DROP"],
    [chains.forward, "-o", tap, ...established, "-j", "ACCEPT"],
    [chains.forward, "-o", tap, "-p", "tcp", "--dport", "9000", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT"],
    ...privateRanges.map((range) => [chains.forward, "-i", tap, "-d", range, "-j", "DROP"]),
    [chains.forward, "-i", tap, "-m", "connlimit", "--connlimit-above", "1024", "--connlimit-mask", "32", "-j", "DROP"],
    [chains.forward, "-i", tap, "-j", "ACCEPT"],
  ];
}

function lockdown({ guestAddress }: PredecessorTenant): Words[] {
  return [52, 53].flatMap((port) => {
    const agent = [chains.out, "-p", "tcp", "-d", guestAddress, "--dport", String(port)];
    return [
      [...agent, "-m", "owner", "--uid-owner", "0", "-j", "ACCEPT"],
      [...agent, "-j", "DROP"],
    ];
  });
}

const edit = (how: "-A" | "-D", rules: Words[], table: Words = []): Words[] =>
  rules.map((rule) => [iptables, ...table, how, ...rule]);

async function inTurn(commands: readonly Words[]): Promise<number> {
  const start = performance.now();
  for (const command of commands) await run(command);
  return performance.now() - start;
}

const commands: PredecessorCommands = {
  async prepare(count) {
    const tenants = Array.from({ length: count }, (_, index) => predecessorTenant(index + 1));
    await run(["sysctl", "-w", "net.ipv4.ip_forward=1"]);
    const batch = tenants.flatMap(links).filter(([program]) => program === "ip");
    await feed("ip", ["-batch", "-"], batch.map(([, ...words]) => `${words.join(" ")}\n`).join(""));
    const append = (rules: Words[]): string => rules.map((rule) => `-A ${rule.join(" ")}\n`).join("");
    const filter = [
      ...Object.values(chains).map((chain) => `:${chain} - [0:0]\n`),
      `-A INPUT -j ${chains.in}\n-A FORWARD -j ${chains.forward}\n-A OUTPUT -j ${chains.out}\n`,
      append(tenants.flatMap((tenant) => [...isolation(tenant), ...lockdown(tenant)])),
    ].join("");
    const nat = append(tenants.flatMap(translations));
    await feed("iptables-nft-restore", [], `*filter\n${filter}COMMIT\n*nat\n${nat}COMMIT\n`);
    return "prepared";
  },
  spawn(index) {
    const tenant = predecessorTenant(index);
    return inTurn([
      ...links(tenant),
      ...edit("-A", translations(tenant), ["-t", "nat"]),
      ...edit("-A", isolation(tenant)),
      ...edit("-A", lockdown(tenant)),
    ]);
  },
  evict(index) {
    const tenant = predecessorTenant(index);
    return inTurn([
      ...edit("-D", isolation(tenant)),
      ...edit("-D", lockdown(tenant)),
      ...edit("-D", translations(tenant), ["-t", "nat"]),
      ["ip", "link", "del", tenant.tap],
    ]);
  },
};

function run([program = "", ...words]: Words): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(program, words, { timeout: 60_000 }, (error) => (error === null ? resolve() : reject(error)));
  });
}

function feed(program: string, words: readonly string[], input: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { stdio: ["pipe", "ignore", "inherit"] });
    child.once("error", reject);
    child.once("exit", (status) => (status === 0 ? resolve() : reject(new Error(`${program} ended with ${status}`))));
    child.stdin.end(input);
  });
}

type Message = { id: number; name: keyof PredecessorCommands; parameter: number };

if (process.send !== undefined) {
  process.on("message", ({ id, name, parameter }: Message) => {
    void commands[name](parameter).then((result) => process.send?.({ id, result }));
  });
  process.on("disconnect", () => process.exit(0));
}
