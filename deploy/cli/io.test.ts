import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";

const io = join(import.meta.dirname, "io.ts");
/** util-linux: runs a shell command on a terminal of its own. */
const hasScript = spawnSync("script", ["--version"]).status === 0;

const endings = {
  "the end of the program": "",
  "an exit": "process.exit(3);",
  "a crash": "throw new Error('told to');",
  SIGTERM: "process.kill(process.pid, 'SIGTERM'); setInterval(() => 0, 1000);",
  SIGHUP: "process.kill(process.pid, 'SIGHUP'); setInterval(() => 0, 1000);",
} as const;

for (const [what, ending] of Object.entries(endings)) {
  test(`a terminal in raw mode is as it was after ${what}`, {
    skip: hasScript ? false : "script is not installed",
  }, () => {
    const program = `import { processIo } from "${io}"; import { spawnSync } from "node:child_process";
      processIo().input.makeRaw();
      spawnSync("sh", ["-c", 'test "$(stty -g)" != "$STATE" && echo it was raw'], { stdio: "inherit" });
      ${ending}`;
    const command = `export STATE=$(stty -g); "$NODE" --input-type=module-typescript -e "$PROGRAM"; test "$(stty -g)" = "$STATE" && echo it is as before`;
    const { stdout } = spawnSync("script", ["-qec", command, "/dev/null"], {
      ...{ env: { ...process.env, NODE: process.execPath, PROGRAM: program }, stdio: ["ignore", "pipe", "inherit"] },
      ...{ encoding: "utf8", timeout: 30_000 },
    });
    assert.match(stdout, /it was raw[\s\S]*it is as before/);
  });
}
