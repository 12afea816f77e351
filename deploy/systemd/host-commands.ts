import { existsSync, readFileSync } from "node:fs";
import { privileges, processSpecs } from "../dev/processes.ts";
import type { Accounts } from "../dev/users.ts";
import { serviceUsers, sharedGroup } from "../dev/users.ts";
import { sysusersPath, tmpfilesPath } from "./host-files.ts";
import { describeHost, guestsCgroup, guestsSlice } from "./host-instance.ts";
import { hostProcesses } from "./sandbox.ts";
import { targetUnit, unitOf } from "./units.ts";

type Command = readonly string[];
const services = hostProcesses.map(unitOf);

/** What a host runs after its files are there. An upgrade restarts what runs; none of these ends a guest. */
export function afterInstall(isUpgrade: boolean): Command[] {
  return [
    ["systemd-sysusers", sysusersPath],
    ["systemd-tmpfiles", "--create", tmpfilesPath],
    ["systemctl", "daemon-reload"],
    ...(isUpgrade ? [["systemctl", "try-restart", ...services]] : []),
  ];
}

/** Whether any process is in the cgroups of guests. */
export function guestsRun(cgroupRoot = "/sys/fs/cgroup"): boolean {
  const events = `${cgroupRoot}/${guestsCgroup}/cgroup.events`;
  return existsSync(events) && /^populated 1$/m.test(readFileSync(events, "utf8"));
}

/** What a host runs before its files are removed: the processes end, and a `net` that was configured takes its namespaces, links and rules back. */
export function beforeUninstall(accounts: Accounts, isConfigured: boolean): Command[] {
  const net = processSpecs(describeHost("uninstall.invalid", 1)).find(({ name }) => name === "net");
  if (net === undefined) throw new Error("no process net");
  return [
    ["systemctl", "disable", "--now", targetUnit],
    ["systemctl", "stop", ...services],
    ...(isConfigured ? [[...privileges(net, accounts), ...net.command, "--teardown"]] : []),
  ];
}

/**
 * What a host runs after its files are removed. The unit of the guests may not be stopped by its name; it ends with its slice,
 * and is empty by then.
 */
export function afterUninstall(): Command[] {
  return [
    ["systemctl", "daemon-reload"],
    ["systemctl", "stop", guestsSlice],
  ];
}

/** With everything else gone, nothing belongs to the users any more. */
export function removeAccounts(): Command[] {
  return [...serviceUsers.map((user) => ["userdel", user]), ["groupdel", sharedGroup]];
}
