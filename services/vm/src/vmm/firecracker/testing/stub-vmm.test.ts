import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { after, before, suite, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { createFirecrackerApi, type FirecrackerApi } from "../api-client.ts";
import { openHttpConnection } from "../http-connection.ts";
import { bootCalls, snapshotCreation, snapshotLoad } from "../machine-document.ts";
import { pinnedVersion } from "../version.ts";
import { replaceInJail, replacements } from "./jail-attacks.ts";
import { noPublishedApi, readPublishedApi } from "./published-api.ts";
import { createStubMachine } from "./stub-machine.ts";
import { type StubVmm, startStubVmm } from "./stub-vmm.ts";

const calls = bootCalls({ vcpuCount: 2, memoryMib: 128 });

/** A jail's root with its files, whose outputs are plain files. */
function makeRoot(): string {
  const root = mkdtempSync(`${tmpdir()}/lobsterd-stub-`);
  mkdirSync(`${root}/saved`);
  for (const name of ["vmlinux", "initrd.cpio", "rootfs.erofs", "overlay.ext4", "identity.img"])
    writeFileSync(`${root}/${name}`, name);
  for (const name of ["log.fifo", "metrics.fifo", "serial.fifo"]) writeFileSync(`${root}/${name}`, "");
  return root;
}

/** Undefined while nobody listens there. */
async function tryConnect(path: string): Promise<FirecrackerApi | undefined> {
  const socket = connect(path);
  try {
    await once(socket, "connect");
  } catch {
    return undefined;
  }
  socket.unref();
  return createFirecrackerApi(openHttpConnection(socket));
}

const connectTo = (path: string) => waitFor("the stub", () => tryConnect(path), { timeoutMs: 30_000, intervalMs: 10 });

suite("the stub VMM", () => {
  let root: string;
  let recorded: StubVmm["requests"] = [];
  before(() => {
    root = makeRoot();
  });
  after(() => rmSync(root, { recursive: true }));

  test("goes through Firecracker's states and refuses what does not belong there", async () => {
    const stub = await startStubVmm({ id: "a1", root });
    const api = await connectTo(stub.socketPath);
    assert.equal(await api.getVersion(), pinnedVersion);
    await assert.rejects(api.pause(), { reason: "VMM_FAILED" });
    await assert.rejects(api.startInstance(), { reason: "VMM_FAILED" });
    for (const call of calls) await api.apply(call);
    assert.equal((await api.getInstance()).state, "Not started");
    await api.startInstance();
    await assert.rejects(api.startInstance(), { reason: "VMM_FAILED" });
    await assert.rejects(Promise.all(calls.map((call) => api.apply(call))), { reason: "VMM_FAILED" });
    await assert.rejects(api.createSnapshot(snapshotCreation), { reason: "VMM_FAILED" });
    await api.pause();
    await api.createSnapshot(snapshotCreation);
    assert.equal(lstatSync(`${root}/saved/memory`).size, 128 * 2 ** 20);
    await api.getConfiguration();
    await api.resume();
    assert.equal((await api.getInstance()).state, "Running");
    recorded = stub.requests;
    stub.close();
  });

  test("its answers are published ones", { skip: noPublishedApi }, () => {
    const published = readPublishedApi();
    assert.ok(recorded.length > 20);
    for (const { answer, ...request } of recorded) {
      assert.deepEqual(published.answerFaults(request, withoutNulls(answer)), []);
    }
  });

  test("loads a snapshot only before it has a machine, and does not run it", async () => {
    const stub = await startStubVmm({ id: "a2", root });
    const api = await connectTo(stub.socketPath);
    await api.loadSnapshot(snapshotLoad);
    assert.equal((await api.getInstance()).state, "Paused");
    await assert.rejects(api.loadSnapshot(snapshotLoad), { reason: "VMM_FAILED" });
    await api.resume();
    stub.close();
    await stub.ended;
  });

  test("refuses fields and paths that are not published, and files that are not there", () => {
    const machine = createStubMachine({ id: "a3", root });
    const refused: readonly (readonly [string, unknown])[] = [
      ["/logger", { log_path: "/log.fifo", more: 1 }],
      ["/metrics", {}],
      ["/nothing", {}],
      ["/boot-source", { kernel_image_path: "/absent" }],
      ["/drives/rootfs", []],
    ];
    for (const [path, body] of refused) assert.equal(machine.answer({ method: "PUT", path, body }).status, 400, path);
    machine.close();
  });

  test("runs as a program that takes its faults from a file", async () => {
    const control = `${root}/control.json`;
    const program = spawn(
      process.execPath,
      [
        `${import.meta.dirname}/stub-main.ts`,
        "--id",
        "a4",
        "--api-sock",
        "program.socket",
        "--control",
        control,
        "--start-time-us",
        "1",
      ],
      { cwd: root, stdio: "inherit" },
    );
    const exit = once(program, "exit");
    try {
      const api = await connectTo(`${root}/program.socket`);
      assert.equal((await api.getInstance()).id, "a4");
      writeFileSync(`${root}/canary`, "canary");
      const attack = { kind: "symlink", file: "memory", target: `${root}/canary` };
      writeFileSync(
        control,
        JSON.stringify([
          { on: "GET /version", kind: "attack", attack },
          { on: "GET /", kind: "die" },
        ]),
      );
      assert.equal(await api.getVersion(), pinnedVersion);
      assert.ok(lstatSync(`${root}/memory`).isSymbolicLink());
      await assert.rejects(api.getInstance(), { reason: "UNAVAILABLE" });
    } finally {
      program.kill();
    }
    await exit;
  });

  test("attacks replace what they say, or say that they could not", () => {
    writeFileSync(`${root}/canary`, "canary");
    for (const kind of replacements) {
      const file = `${root}/victim`;
      rmSync(file, { recursive: true, force: true });
      writeFileSync(file, "victim");
      const replaced = replaceInJail({ kind, file, target: `${root}/canary` });
      const found = lstatSync(file);
      const is = {
        symlink: found.isSymbolicLink(),
        hardlink: found.nlink === 2,
        fifo: found.isFIFO(),
        device: found.isCharacterDevice(),
        directory: found.isDirectory(),
      };
      assert.equal(is[kind], replaced, kind);
      assert.ok(replaced || kind === "device", `${kind} needs no right`);
    }
    assert.equal(readFileSync(`${root}/canary`, "utf8"), "canary");
  });
});

/** The published types know no null; Firecracker writes what is not set as one. */
function withoutNulls<T>(value: T): T {
  return JSON.parse(JSON.stringify(value, (_key, inner) => inner ?? undefined));
}
