import { readFileSync } from "node:fs";

/** Mount points at and below `directory`, outermost first, in the mount namespace of this process. */
export function mountsBelow(
  directory: string,
  mountinfo: string = readFileSync("/proc/self/mountinfo", "utf8"),
): string[] {
  return mountinfo
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => unescapeMount(line.split(" ")[4] ?? ""))
    .filter((path) => path === directory || path.startsWith(`${directory}/`));
}

/** The kernel writes blanks and backslashes of a path as octal. */
function unescapeMount(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
