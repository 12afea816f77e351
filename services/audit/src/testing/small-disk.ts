import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** An empty directory that is gone after the test. */
export function temporaryDirectory(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "lobsterd-audit-"));
  context.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A directory on a file system of its own, for a test that fills it; gone after the test. Needs root. */
export function smallDisk(context: TestContext, sizeMib: number): { path: string; grow(sizeMib: number): void } {
  const path = mkdtempSync(join(tmpdir(), "lobsterd-audit-"));
  const mount = (options: string) =>
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path], { timeout: 10_000, stdio: "pipe" });
  mount(`size=${sizeMib}m,mode=0700`);
  context.after(() => {
    // Lazily, so that a test that failed with the log open leaves no mount behind.
    execFileSync("umount", ["--lazy", path], { timeout: 10_000, stdio: "pipe" });
    rmSync(path, { recursive: true });
  });
  return { path, grow: (to) => void mount(`remount,size=${to}m`) };
}
