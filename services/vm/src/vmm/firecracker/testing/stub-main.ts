/**
 * Stands for the firecracker program where there is none: `stub-main.ts --id <id> --api-sock <path> [--control <file>]`, in its jail's root
 * as working directory. The control file, read before each request, holds a JSON list of faults (`stub-faults.ts`), and may change while
 * it runs. Ends on SIGTERM, and when a fault says so.
 */
import { existsSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { z } from "zod";
import { pinnedVersion } from "../version.ts";
import { stubFaultSchema } from "./stub-faults.ts";
import { startStubVmm } from "./stub-vmm.ts";

// Not strict: a jailer adds arguments of its own, such as the time at which it started.
const { values } = parseArgs({
  options: {
    id: { type: "string" },
    "api-sock": { type: "string" },
    control: { type: "string" },
    version: { type: "boolean" },
  },
  strict: false,
});

if (values.version === true) process.stdout.write(`Firecracker v${pinnedVersion}\n`);
else {
  const control = typeof values.control === "string" ? values.control : undefined;
  const faults = () =>
    control === undefined || !existsSync(control)
      ? []
      : z.array(stubFaultSchema).parse(JSON.parse(readFileSync(control, "utf8")));
  const socketPath = typeof values["api-sock"] === "string" ? values["api-sock"] : "api.socket";
  const stub = await startStubVmm({ id: String(values.id), root: process.cwd(), socketPath, faults });
  process.once("SIGTERM", stub.close);
  await stub.ended;
}
