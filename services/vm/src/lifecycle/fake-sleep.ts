/** What of the host in memory is about sleep: a VMM that can be told to fail, and a place for sealed files. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { FakeVmm } from "../vmm/fake.ts";
import type { VmmPort } from "../vmm/port.ts";
import type { Failure } from "./fake-host.ts";

/** Each of these fails after its effect. */
export function failingVmm(vmm: FakeVmm, attempt: (what: Failure) => void): VmmPort {
  const after =
    <Arguments extends readonly unknown[], Result>(
      what: Failure,
      call: (...given: Arguments) => Promise<Result>,
    ): ((...given: Arguments) => Promise<Result>) =>
    async (...given) => {
      const result = await call(...given);
      attempt(what);
      return result;
    };
  return {
    ...vmm,
    save: after("save", vmm.save),
    pause: after("pause", vmm.pause),
    unpause: after("unpause", vmm.unpause),
    readDisk: after("readDisk", vmm.readDisk),
    writeDisk: after("writeDisk", vmm.writeDisk),
    replaceDisk: after("replaceDisk", vmm.replaceDisk),
    stop: after("stop", vmm.stop),
    load: after("load", vmm.load),
    resume: after("resume", vmm.resume),
  };
}

let scratchDirectory: string | undefined;

/** One directory for all hosts of a test file, removed with its process. */
function scratch(): string {
  if (scratchDirectory !== undefined) return scratchDirectory;
  const made = mkdtempSync("/dev/shm/lobsterd-fake-host-");
  // A hook of the test that happens to be first would take it away from the others.
  process.once("exit", () => rmSync(made, { recursive: true, force: true }));
  scratchDirectory = made;
  return made;
}

export function hostDirectory(): string {
  return mkdtempSync(join(scratch(), "host-"));
}
