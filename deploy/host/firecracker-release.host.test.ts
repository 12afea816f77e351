import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, afterEach, before, beforeEach, suite, test } from "node:test";
import { type ArtifactLock, readArtifactLock } from "@lobsterd/vm/launcher/artifacts/lock.ts";
import { downloadFile, type Installation, installFirecracker } from "./firecracker-release.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";
const refused = { name: "ReleaseRefusedError" };
const real = readArtifactLock().firecracker;
const sha256 = (content: Buffer | string) => createHash("sha256").update(content).digest("hex");
const release = "release-v1.16.1-x86_64";

suite("make firecracker", { skip }, () => {
  let base: string;
  let archive: string;
  let lock: ArtifactLock;
  let downloads: string[];
  let published: string;
  beforeEach(() => {
    base = mkdtempSync("/var/lib/lobsterd-firecracker-test-");
    chmodSync(base, 0o755);
    mkdirSync(`${base}/${release}`);
    for (const name of ["firecracker", "jailer", "seccompiler-bin"]) {
      writeFileSync(`${base}/${release}/${name}-v1.16.1-x86_64`, `a stand-in for ${name}\n`);
    }
    archive = `${base}/archive.tgz`;
    execFileSync("tar", ["--create", "--gzip", "--file", archive, "--directory", base, release]);
    lock = {
      firecracker: {
        ...real,
        archiveSha256: sha256(readFileSync(archive)),
        sha256: { firecracker: sha256("a stand-in for firecracker\n"), jailer: sha256("a stand-in for jailer\n") },
      },
    };
    downloads = [];
    published = `${lock.firecracker.archiveSha256}  firecracker-v1.16.1-x86_64.tgz\n`;
  });
  afterEach(() => rmSync(base, { recursive: true }));

  const install = (changes: Partial<Installation> = {}) =>
    installFirecracker({
      lock,
      directory: `${base}/opt/firecracker`,
      architecture: "x64",
      download: async (url, path) => {
        downloads.push(url);
        assert.equal(statSync(path.slice(0, path.lastIndexOf("/"))).mode & 0o777, 0o700);
        if (url.endsWith(".sha256.txt")) writeFileSync(path, published);
        else copyFileSync(archive, path);
      },
      progress: () => {},
      ...changes,
    });
  const installed = () => (existsSync(`${base}/opt`) ? readdirSync(`${base}/opt`) : []);

  test("downloads the locked release and its published digest, and installs the two programs for root", async () => {
    const directory = await install();
    assert.deepEqual(downloads, [real.archiveUrl, `${real.archiveUrl}.sha256.txt`]);
    assert.deepEqual(readdirSync(directory).sort(), ["firecracker", "jailer", "release.json"]);
    for (const name of ["firecracker", "jailer"]) {
      const { uid, mode } = statSync(`${directory}/${name}`);
      assert.deepEqual([uid, mode & 0o7777], [0, 0o755]);
      assert.equal(readFileSync(`${directory}/${name}`, "utf8"), `a stand-in for ${name}\n`);
    }
    assert.deepEqual(installed(), ["firecracker"]);
    await install();
    assert.deepEqual(installed(), ["firecracker"], "a second installation leaves something");
  });

  test("takes an archive that is here already", async () => {
    await install({ archivePath: archive });
    assert.deepEqual([downloads, installed()], [[], ["firecracker"]]);
  });

  const withLock = (change: Partial<ArtifactLock["firecracker"]>) => ({
    lock: { firecracker: { ...lock.firecracker, ...change } },
  });
  const wrong: Record<string, () => Partial<Installation>> = {
    "one other byte in the archive": () => {
      const content = readFileSync(archive);
      content[content.length >> 1] = (content[content.length >> 1] ?? 0) ^ 1;
      writeFileSync(archive, content);
      return {};
    },
    "an archive of yours that is another": () => ({
      ...withLock({ archiveSha256: "0".repeat(64) }),
      archivePath: archive,
    }),
    "another published digest": () => {
      published = `${"0".repeat(64)}\n`;
      return {};
    },
    "a page in place of the published digest": () => {
      published = "<html>";
      return {};
    },
    "another firecracker in the right archive": () =>
      withLock({ sha256: { ...lock.firecracker.sha256, firecracker: "0".repeat(64) } }),
    "another jailer in the right archive": () =>
      withLock({ sha256: { ...lock.firecracker.sha256, jailer: "0".repeat(64) } }),
    "another architecture": () => ({ architecture: "arm64" }),
    "a version with a known defect": () => withLock({ version: "1.14.0" }),
    "a version that is not the pinned one": () => withLock({ version: "1.16.0" }),
  };
  for (const [name, change] of Object.entries(wrong)) {
    test(`refuses ${name}, and keeps what is installed`, async () => {
      await install();
      await assert.rejects(install(change()), refused);
      assert.deepEqual(installed(), ["firecracker"]);
      assert.equal(readFileSync(`${base}/opt/firecracker/firecracker`, "utf8"), "a stand-in for firecracker\n");
    });
  }

  test("refuses to go back to an older release than is installed", async () => {
    const directory = await install();
    for (const [version, older] of [
      ["1.16.2", true],
      ["1.17.0", true],
      ["1.100.0", true],
      ["1.16.1", false],
      ["1.9.9", false],
    ] as const) {
      writeFileSync(`${directory}/release.json`, JSON.stringify({ version }));
      if (older) await assert.rejects(install(), refused, version);
      else await install();
    }
  });

  test("refuses a place that others can write to", async () => {
    mkdirSync(`${base}/opt`);
    chmodSync(`${base}/opt`, 0o777);
    await assert.rejects(install(), { reason: "HOST_UNSAFE" });
    assert.deepEqual(installed(), []);
  });
});

suite("a download", () => {
  let server: Server;
  let url: string;
  const directory = mkdtempSync("/tmp/lobsterd-download-");
  before(async () => {
    server = createServer((request, response) => {
      response.statusCode = request.url === "/gone" ? 404 : 200;
      response.end("x".repeat(1000));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.close();
    server.closeAllConnections();
    rmSync(directory, { recursive: true });
  });

  test("is bounded, goes to a new file of its owner's, and is no page of an error", async () => {
    await downloadFile(`${url}/file`, `${directory}/file`, 1000);
    assert.equal(readFileSync(`${directory}/file`, "utf8").length, 1000);
    assert.equal(statSync(`${directory}/file`).mode & 0o777, 0o600);
    await assert.rejects(downloadFile(`${url}/file`, `${directory}/long`, 999), /longer than 999/);
    await assert.rejects(downloadFile(`${url}/gone`, `${directory}/gone`, 1000), /404/);
    await assert.rejects(downloadFile(`${url}/file`, `${directory}/file`, 1000), /EEXIST/);
  });
});
