import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { run } from "./command.ts";
import { stateRoot } from "./instance.ts";

/** Group that may reach the services' RPC sockets. */
export const sharedGroup = "lobsterd";

export const serviceUsers = [
  "lobsterd-vm",
  "lobsterd-net",
  "lobsterd-proxy",
  "lobsterd-secrets",
  "lobsterd-audit",
  "lobsterd-caddy",
  "lobsterd-nats",
] as const;
export type ServiceUser = (typeof serviceUsers)[number];

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

export interface Accounts {
  /** Account of a process user; `root` and `nobody` too. Throws for a name that does not exist. */
  account(user: string): Account;
  /** Number of a group. Throws for a name that does not exist. */
  group(name: string): number;
}

/** Outside the instances' own directories: the users serve every instance on the machine. */
const createdPath = `${stateRoot}/created-users.json`;

interface Created {
  users: string[];
  groups: string[];
}

/** The user and group database of the machine, read now. */
export function readAccounts(
  passwd: string = readFileSync("/etc/passwd", "utf8"),
  group: string = readFileSync("/etc/group", "utf8"),
): Accounts {
  const users = new Map<string, Account>();
  for (const [name = "", , uid, gid] of rows(passwd)) users.set(name, { uid: Number(uid), gid: Number(gid) });
  const groups = new Map<string, number>();
  for (const [name = "", , gid] of rows(group)) groups.set(name, Number(gid));
  return {
    account: (user) => found(users.get(user), `user ${user}`),
    group: (name) => found(groups.get(name), `group ${name}`),
  };
}

/** Creates the users and the group that are missing and remembers which they were. Returns the names it created. */
export async function createUsers(): Promise<string[]> {
  const groups = new Set(rows(readFileSync("/etc/group", "utf8")).map(([name]) => name));
  const users = new Set(rows(readFileSync("/etc/passwd", "utf8")).map(([name]) => name));
  const created = readCreated();
  const made: string[] = [];
  // Remembered before it is made: a name that is written down and does not exist is harmless, the reverse stays for ever.
  const remember = (list: string[], name: string): void => {
    if (!list.includes(name)) list.push(name);
    writeCreated(created);
    made.push(name);
  };
  if (!groups.has(sharedGroup)) {
    remember(created.groups, sharedGroup);
    await run(["groupadd", "--system", sharedGroup]);
  }
  for (const user of serviceUsers) {
    if (users.has(user)) continue;
    remember(created.users, user);
    await run([
      ...["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"],
      ...["--shell", "/usr/sbin/nologin", "--comment", "lobsterd", "--groups", sharedGroup, user],
    ]);
  }
  return made;
}

/** Removes exactly what `createUsers` made. */
export async function removeUsers(): Promise<string[]> {
  const created = readCreated();
  const passwd = new Set(rows(readFileSync("/etc/passwd", "utf8")).map(([name]) => name));
  const removed: string[] = [];
  for (const user of created.users.filter((name) => passwd.has(name))) {
    await run(["userdel", user]);
    removed.push(user);
  }
  const groups = new Set(rows(readFileSync("/etc/group", "utf8")).map(([name]) => name));
  for (const group of [...created.groups, ...created.users].filter((name) => groups.has(name))) {
    await run(["groupdel", group]);
    removed.push(group);
  }
  rmSync(createdPath, { force: true });
  return removed;
}

/** Names of our users and groups that the machine has now. */
export function presentUsers(): string[] {
  const ours = new Set<string>([...serviceUsers, sharedGroup]);
  const present = (path: string, kind: string): string[] =>
    rows(readFileSync(path, "utf8"))
      .map(([name = ""]) => name)
      .filter((name) => ours.has(name))
      .map((name) => `${kind} ${name}`);
  return [...present("/etc/passwd", "user"), ...present("/etc/group", "group")].sort();
}

/** Names that `createUsers` made and `removeUsers` has yet to remove. */
export function rememberedUsers(): string[] {
  const { users, groups } = readCreated();
  return [...users, ...groups];
}

function readCreated(): Created {
  try {
    const parsed: unknown = JSON.parse(readFileSync(createdPath, "utf8"));
    if (isCreated(parsed)) return parsed;
  } catch (error) {
    if (!isAbsence(error)) throw error;
    return { users: [], groups: [] };
  }
  throw new Error(`${createdPath} is not a list of users`);
}

function isCreated(value: unknown): value is Created {
  if (typeof value !== "object" || value === null || !("users" in value) || !("groups" in value)) return false;
  const ours = new Set<unknown>([...serviceUsers, sharedGroup]);
  // The file says which accounts to delete: a name that is not ours is never acted on.
  return [value.users, value.groups].every((list) => Array.isArray(list) && list.every((name) => ours.has(name)));
}

function writeCreated(created: Created): void {
  mkdirSync(stateRoot, { recursive: true, mode: 0o755 });
  writeFileSync(createdPath, JSON.stringify(created), { mode: 0o600 });
}

function rows(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(":"));
}

function found<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`${what} does not exist`);
  return value;
}
