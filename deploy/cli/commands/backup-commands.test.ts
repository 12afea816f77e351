import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { showBackupProgress } from "../backup-progress.ts";
import { fakeStack } from "../testing/fake-stack.ts";
import { fakeTenant } from "../testing/fake-tenant.ts";
import { runCommand } from "../testing/run-command.ts";
import { terminalContext } from "../testing/terminal-context.ts";

const directory = mkdtempSync(join(tmpdir(), "lobster-backup-"));
after(() => rmSync(directory, { recursive: true }));

async function withBackup() {
  const stack = fakeStack();
  stack.tenants.set("mia", fakeTenant("mia"));
  const { stdout } = await runCommand(["backup", "create", "mia", "--json"], { stack });
  return { stack, backupId: String(JSON.parse(stdout).backup.backupId) };
}

test("a backup is made, listed and deleted", async () => {
  const { stack, backupId } = await withBackup();
  const shown = await runCommand(["backup", "create", "mia"], { stack });
  assert.match(shown.stdout, /^backup {6}[0-9a-f]{32}\ntenant {6}mia\n/);
  const { stdout } = await runCommand(["backup", "ls", "mia"], { stack });
  assert.deepEqual(
    stdout
      .split("\n")
      .slice(0, 1)
      .join()
      .split(/\s{2,}/),
    ["BACKUP", "CREATED", "GEN", "DISK", "SIZE"],
  );
  assert.equal((await runCommand(["backup", "ls", "mia", "-q"], { stack })).stdout.split("\n").length, 3);
  assert.equal((await runCommand(["backup", "rm", "mia", backupId], { stack })).stdout, `deleted ${backupId}\n`);
  const again = await runCommand(["backup", "rm", "mia", backupId], { stack });
  assert.deepEqual([again.status, again.stderr], [3, `lobster: there is no backup ${backupId} (BACKUP_NOT_FOUND)\n`]);
});

test("how far a backup is is shown on a terminal while it lasts, and nowhere else", async () => {
  const { context, lines, shown } = terminalContext(/1\.0 MiB of 64 MiB/);
  const line = await showBackupProgress(context, { name: "demo", doing: "backing up" }, () => shown);
  assert.match(line, /backing up demo, 0 s: 1\.0 MiB of 64 MiB$/);
  assert.equal(lines.at(-1), "\r\x1b[K");
  const stack = fakeStack();
  stack.tenants.set("mia", fakeTenant("mia"));
  assert.equal((await runCommand(["backup", "create", "mia"], { stack })).stderr, "");
});

test("a backup is exported into a new file of its owner's alone, and imported again", async () => {
  const { stack, backupId } = await withBackup();
  const path = join(directory, "copy");
  const { status, stdout } = await runCommand(["backup", "export", "mia", backupId, path], { stack });
  assert.deepEqual([status, stdout], [0, `${path}: 320 B\n`]);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(readFileSync(path, "utf8"), backupId.repeat(10));
  const imported = await runCommand(["backup", "import", "mia", path, "--json"], { stack });
  assert.equal(JSON.parse(imported.stdout).backup.backupId, backupId);
});

test("an export writes over nothing and through no link, and a failed one leaves no file", async () => {
  const { stack, backupId } = await withBackup();
  const [own, link, none] = ["own", "link", "none"].map((name) => join(directory, name)) as [string, string, string];
  writeFileSync(own, "mine");
  symlinkSync(join(directory, "target"), link);
  for (const path of [own, link]) {
    const { status, stderr } = await runCommand(["backup", "export", "mia", backupId, path], { stack });
    assert.equal(status, 2);
    assert.match(stderr, / exists \(USAGE\)\n/);
  }
  assert.deepEqual([readFileSync(own, "utf8"), existsSync(join(directory, "target"))], ["mine", false]);
  assert.equal((await runCommand(["backup", "export", "mia", "f".repeat(32), none], { stack })).status, 3);
  assert.ok(!existsSync(none));
});

test("a tenant is restored from a backup", async () => {
  const { stack, backupId } = await withBackup();
  const { stdout } = await runCommand(["restore", "noa", backupId], { stack });
  assert.match(stdout, /^name {8}noa\nstate {7}running\n/);
  assert.ok(stack.tenants.has("noa"));
});
