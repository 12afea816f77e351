import assert from "node:assert/strict";
import { test } from "node:test";
import { configurationDifferences } from "./configuration-differences.ts";
import { bootCalls, expectedConfiguration, type MachineSpec, requireMachineSpec } from "./machine-document.ts";

const spec: MachineSpec = { vcpuCount: 2, memoryMib: 512 };
const bodyOf = (name: string) =>
  bootCalls(spec).find(({ call }) => call === name)?.body as unknown as Record<string, unknown>;

/** What Firecracker 1.16.1 says after these calls: unset fields are null, a burst of 0 too, and nothing of logger, metrics and serial. */
function reported(): Record<string, unknown> {
  const document = JSON.parse(JSON.stringify(expectedConfiguration(bootCalls(spec)))) as Record<string, unknown>;
  for (const drive of document["drives"] as Record<string, unknown>[])
    Object.assign(drive, { partuuid: null, socket: null });
  const nothing = ["balloon", "cpu-config", "logger", "metrics", "mmds-config", "vsock", "memory-hotplug"];
  return JSON.parse(
    JSON.stringify({ ...document, ...Object.fromEntries(nothing.map((key) => [key, null])), pmem: [] }).replaceAll(
      '"one_time_burst":0',
      '"one_time_burst":null',
    ),
  );
}

test("the calls are made in one order, and nothing else is", () => {
  assert.deepEqual(
    bootCalls(spec).map(({ call }) => call),
    [
      ...["putLogger", "putMetrics", "putSerial", "putMachineConfiguration", "putBootSource"],
      ...["putRootDrive", "putOverlayDrive", "putIdentityDrive", "putNetworkInterface", "putEntropy"],
    ],
  );
});

test("limits are the exact token buckets of the controls", () => {
  const network = {
    bandwidth: { size: 1_250_000, one_time_burst: 0, refill_time: 1000 },
    ops: { size: 1000, refill_time: 1000 },
  };
  const disk = {
    bandwidth: { size: 52_428_800, one_time_burst: 0, refill_time: 1000 },
    ops: { size: 5000, refill_time: 1000 },
  };
  assert.deepEqual(bodyOf("putNetworkInterface")["rx_rate_limiter"], network);
  assert.deepEqual(bodyOf("putNetworkInterface")["tx_rate_limiter"], network);
  for (const name of ["putRootDrive", "putOverlayDrive", "putIdentityDrive"]) {
    assert.deepEqual(bodyOf(name)["rate_limiter"], disk);
  }
  assert.deepEqual(bodyOf("putEntropy"), {
    rate_limiter: { bandwidth: { size: 1000, one_time_burst: 0, refill_time: 100 } },
  });
  assert.deepEqual(bodyOf("putSerial"), {
    serial_out_path: "/serial.fifo",
    rate_limiter: { size: 16_384, one_time_burst: 65_536, refill_time: 1000 },
  });
});

test("only the overlay can be written, and its flushes count", () => {
  const drives = ["putRootDrive", "putOverlayDrive", "putIdentityDrive"].map(bodyOf);
  assert.deepEqual(
    drives.map(({ is_read_only }) => is_read_only),
    [true, false, true],
  );
  assert.deepEqual(
    drives.map(({ is_root_device }) => is_root_device),
    [true, false, false],
  );
  assert.equal(drives[1]?.["cache_type"], "Writeback");
  assert.ok(drives.every(({ io_engine }) => io_engine === "Sync"));
});

test("a machine that may not be is refused by field: odd CPUs, no memory, a CPU template", () => {
  const refused: readonly (readonly [unknown, string])[] = [
    [{ vcpuCount: 3, memoryMib: 512 }, "vcpuCount"],
    [{ vcpuCount: 34, memoryMib: 512 }, "vcpuCount"],
    [{ vcpuCount: 0, memoryMib: 512 }, "vcpuCount"],
    [{ vcpuCount: 1, memoryMib: 1.5 }, "memoryMib"],
    [{ vcpuCount: 1, memoryMib: 512, cpuTemplate: "T2" }, "cpuTemplate"],
  ];
  for (const [bad, field] of refused) {
    assert.throws(
      () => requireMachineSpec(bad as MachineSpec),
      (error: { reason?: string; message: string }) =>
        error.reason === "INVALID_REQUEST" && error.message.includes(field),
    );
  }
});

test("the VMM's account of the machine is the one ordered, in Firecracker's own spelling", () => {
  assert.deepEqual(configurationDifferences(expectedConfiguration(bootCalls(spec)), reported()), []);
});

test("whatever was added or changed is named", () => {
  const expected = expectedConfiguration(bootCalls(spec));
  const changes: readonly (readonly [(document: ReturnType<typeof reported>) => void, string])[] = [
    [(document) => (document["vsock"] = { guest_cid: 3, uds_path: "/v.sock" }), "vsock"],
    [(document) => (document["balloon"] = { amount_mib: 0, deflate_on_oom: false }), "balloon"],
    [(document) => (document["pmem"] = [{ id: "p", path_on_host: "/p" }]), "pmem"],
    [(document) => (document["mmds-config"] = { network_interfaces: ["eth0"] }), "mmds-config"],
    [(document) => (document["memory-hotplug"] = { total_size_mib: 128 }), "memory-hotplug"],
    [(document) => (document["cpu-config"] = {}), "cpu-config"],
    [(document) => (document["logger"] = { level: "Trace" }), "logger"],
    [(document) => delete document["entropy"], "entropy"],
    [
      (document) => (document["drives"] as unknown[]).push({ drive_id: "more" }),
      "drives has 4 entries, ordered 3; drives[3]",
    ],
    [(document) => (document["drives"] as unknown[]).reverse(), "drives[0].is_root_device"],
    [
      (document) => Object.assign((document["drives"] as object[])[0] ?? {}, { is_read_only: false }),
      "drives[0].is_read_only",
    ],
    [
      (document) => Object.assign((document["drives"] as object[])[1] ?? {}, { io_engine: "Async" }),
      "drives[1].io_engine",
    ],
    [(document) => Object.assign((document["drives"] as object[])[2] ?? {}, { socket: "/s" }), "drives[2].socket"],
    [
      (document) => Object.assign((document["drives"] as object[])[0] ?? {}, { rate_limiter: null }),
      "drives[0].rate_limiter",
    ],
    [
      (document) => (document["network-interfaces"] as unknown[]).push({ iface_id: "eth1" }),
      "network-interfaces has 2 entries, ordered 1; network-interfaces[1]",
    ],
    [
      (document) => Object.assign(document["machine-config"] as object, { cpu_template: "T2S" }),
      "machine-config.cpu_template",
    ],
    [
      (document) => Object.assign(document["machine-config"] as object, { huge_pages: "2M" }),
      "machine-config.huge_pages",
    ],
    [
      (document) => Object.assign(document["machine-config"] as object, { mem_size_mib: 513 }),
      "machine-config.mem_size_mib",
    ],
    [
      (document) => Object.assign(document["boot-source"] as object, { boot_args: "init=/bin/sh" }),
      "boot-source.boot_args",
    ],
    [(document) => Object.defineProperty(document, "__proto__", { value: { a: 1 }, enumerable: true }), "__proto__"],
  ];
  for (const [change, name] of changes) {
    const document = reported();
    change(document);
    const found = configurationDifferences(expected, document).join("; ");
    assert.ok(found.startsWith(`${name} `), `${name}: ${found}`);
  }
});

test("an account full of differences stays short and printable", () => {
  const hostile = Object.fromEntries(Array.from({ length: 5000 }, (_, at) => [`\u001b[2J${at}`, "x\n".repeat(1000)]));
  const lines = configurationDifferences(expectedConfiguration(bootCalls(spec)), hostile);
  assert.equal(lines.length, 9);
  for (const line of lines) assert.match(line, /^[\x20-\x7e]{1,240}$/);
});
