import { runDirectories, stateDirectories } from "../dev/directories.ts";
import { type Instance, runRoot } from "../dev/instance.ts";
import { serviceUsers, sharedGroup } from "../dev/users.ts";
import { configDir } from "./host-instance.ts";

const notice = "# Written by `make install` from deploy/systemd.\n";

/** The users of the processes and the group of the RPC sockets, for systemd-sysusers. Units grant the group; no user is in it. */
export function sysusersText(): string {
  const users = serviceUsers.map((user) => `u ${user} - "lobsterd" - -\n`);
  return `${notice}g ${sharedGroup} -\n${users.join("")}`;
}

/** Every directory of a host's stack, for systemd-tmpfiles: owners and modes are put right at each boot, nothing is ever removed. */
export function tmpfilesText(instance: Instance): string {
  const root = { user: "root", group: "root", mode: 0o755 };
  const directories = [
    { path: configDir, ...root },
    { path: runRoot, ...root },
    { path: instance.runDir, ...root },
    ...runDirectories(instance),
    ...stateDirectories(instance),
  ];
  const lines = directories.map(
    ({ path, user, group, mode }) => `d ${path} ${mode.toString(8).padStart(4, "0")} ${user} ${group} - -\n`,
  );
  return notice + lines.join("");
}
