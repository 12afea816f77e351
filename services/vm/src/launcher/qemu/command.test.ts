import assert from "node:assert/strict";
import { test } from "node:test";
import { type QemuSpec, qemuCommand, tscKhzFromCpuinfo } from "./command.ts";

const spec: QemuSpec = {
  ...{ vmId: "0f".repeat(16), vcpuCount: 2, memoryMib: 256 },
  accelerator: "tcg",
  ...{ translationCacheMib: 32, tscKhz: 2_445_428 },
  source: "boot",
};

/** The values of every occurrence of an option. */
const values = (command: readonly string[], option: string) =>
  command.flatMap((argument, index) => (argument === option ? [command[index + 1] ?? ""] : []));

test("the command line is the measured one", () => {
  const command = qemuCommand(spec);
  const of = (option: string) => values(command, option);
  assert.deepEqual(of("-M"), ["microvm,rtc=on,pit=off,pic=off,isa-serial=off"]);
  assert.deepEqual(of("-append"), ["panic=-1 quiet 8250.nr_uarts=0 tsc_early_khz=2445428 tsc=reliable"]);
  assert.deepEqual(of("-accel"), ["tcg,thread=multi,tb-size=32"]);
  assert.deepEqual([of("-smp"), of("-m"), of("-name")], [["2"], ["256"], [spec.vmId]]);
  assert.deepEqual(of("-sandbox"), ["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
  assert.deepEqual(of("-qmp"), ["unix:/run/qmp.sock,server=on,wait=off"]);
  assert.deepEqual(of("-incoming"), []);
  for (const [source, uri] of [
    ["incoming", "unix:/run/incoming.sock"],
    ["template", "fd:4"],
  ] as const) {
    const loading = qemuCommand({ ...spec, source });
    assert.deepEqual(values(loading, "-incoming"), [uri]);
    assert.ok(loading.includes("-S"));
    assert.deepEqual(
      loading.filter((word) => !["-incoming", uri].includes(word)),
      command,
    );
  }
  assert.ok(command.includes("-S") && command.includes("-nodefaults") && command.includes("-no-user-config"));
});

test("under KVM only the execution differs: the host's processor, and no word about the clock", () => {
  const [emulated, hardware] = [qemuCommand(spec), qemuCommand({ ...spec, accelerator: "kvm" })];
  const of = (option: string) => values(hardware, option);
  assert.deepEqual([of("-accel"), of("-cpu")], [["kvm"], ["host,-vmx,-svm"]]);
  assert.deepEqual(of("-M"), ["microvm,rtc=on,pit=off,pic=off,isa-serial=off"]);
  assert.deepEqual(of("-append"), ["panic=-1 quiet 8250.nr_uarts=0"]);
  const differing = emulated.flatMap((argument, index) => (argument === hardware[index] ? [] : [emulated[index - 1]]));
  assert.deepEqual([emulated.length, differing], [hardware.length, ["-accel", "-cpu", "-append"]]);
});

test("a frequency that no host has is refused, not written on the guest's command line", () => {
  for (const tscKhz of [0, 99_999, 10_000_001, 2_445_428.5, Number.NaN])
    assert.throws(() => qemuCommand({ ...spec, tscKhz }), RangeError, String(tscKhz));
});

test("there are three drives in order, one card and a random number device, and nothing else", () => {
  const command = qemuCommand(spec);
  assert.deepEqual(values(command, "-device"), [
    "virtio-blk-device,drive=root",
    "virtio-blk-device,drive=overlay",
    "virtio-blk-device,drive=identity",
    "virtio-net-device,netdev=net0,mac=06:00:0a:4d:00:02",
    "virtio-rng-device,rng=rng0",
  ]);
  const drives = values(command, "-blockdev");
  assert.deepEqual(
    drives.map((drive) => [
      /filename=(\S+)$/.exec(drive)?.[1],
      /(?:^|,)read-only=(on|off)/.exec(drive)?.[1],
      /file\.read-only=(on|off)/.exec(drive)?.[1],
    ]),
    [
      ["/image/rootfs.erofs", "on", "on"],
      ["/overlay.ext4", "off", "off"],
      ["/identity.img", "on", "on"],
    ],
  );
});

test("all drives share one limit of 50 MiB/s and 5,000 operations, with no burst above it", () => {
  const command = qemuCommand(spec);
  assert.ok(values(command, "-blockdev").every((drive) => drive.startsWith("driver=throttle,throttle-group=disk,")));
  const group = values(command, "-object").find((object) => object.startsWith("throttle-group,"));
  const limit = (name: string) => new RegExp(`(?:,)${name}=(\\d+)(?:,|$)`).exec(group ?? "")?.[1];
  assert.deepEqual(
    [limit("x-bps-total"), limit("x-bps-total-max"), limit("x-bps-total-max-length")],
    ["52428800", "52428800", "1"],
  );
  assert.deepEqual(
    [limit("x-iops-total"), limit("x-iops-total-max"), limit("x-iops-total-max-length")],
    ["5000", "5000", "1"],
  );
});

test("the frequency comes from cpuinfo, or is asked for", () => {
  assert.equal(tscKhzFromCpuinfo("processor\t: 0\ncpu MHz\t\t: 2445.428\n"), 2_445_428);
  assert.throws(() => tscKhzFromCpuinfo("processor\t: 0\n"), /tscKhz/);
});
