import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, suite, test } from "node:test";
import { openArtifactStore } from "./artifact-store.ts";
import { createFileDigests } from "./file-digests.ts";
import { type ArtifactLock, firecrackerArtifacts, readArtifactLock } from "./lock.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";
const mismatch = { reason: "ARTIFACT_MISMATCH" };
const sha256 = (content: string) => createHash("sha256").update(content).digest("hex");
const programs = { firecracker: "a VMM\n", jailer: "a jailer\n" };
const real = readArtifactLock();
const lock: ArtifactLock = {
  firecracker: {
    ...real.firecracker,
    sha256: { firecracker: sha256(programs.firecracker), jailer: sha256(programs.jailer) },
  },
};

suite("the installed Firecracker", { skip }, () => {
  let base: string;
  let installed: string;
  beforeEach(() => {
    base = mkdtempSync("/var/lib/lobsterd-lock-test-");
    chmodSync(base, 0o755);
    installed = `${base}/installed`;
    mkdirSync(installed);
    for (const [name, content] of Object.entries(programs)) writeFileSync(`${installed}/${name}`, content);
  });
  afterEach(() => rmSync(base, { recursive: true }));
  const verified = (of: ArtifactLock = lock) =>
    openArtifactStore(`${base}/store`, createFileDigests()).verified(firecrackerArtifacts(installed, of));

  test("is what the lock file says: the launcher gets its own executable copies of both programs", async () => {
    const directory = await verified();
    for (const [name, content] of Object.entries(programs)) {
      assert.equal(readFileSync(`${directory}/${name}`, "utf8"), content);
    }
  });

  for (const name of ["firecracker", "jailer"] as const) {
    test(`is refused when ${name} has one other byte, or is not there`, async () => {
      const content = Buffer.from(programs[name]);
      content[3] = (content[3] ?? 0) ^ 1;
      writeFileSync(`${installed}/${name}`, content);
      await assert.rejects(verified(), mismatch);
      rmSync(`${installed}/${name}`);
      await assert.rejects(verified(), mismatch);
    });
  }

  test("is refused when it is not the locked release, whatever it says of itself", async () => {
    await assert.rejects(verified(real), mismatch);
  });
});
