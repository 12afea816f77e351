/** `vm` as the test stack runs it: the real composition, with an observer of steps that a story can tell what to do. */
import { dirname } from "node:path";
import { loadConfig } from "@lobsterd/chassis/config.ts";
import { runService } from "@lobsterd/chassis/lifecycle.ts";
import { configSchema } from "@lobsterd/vm/config.ts";
import { startVm } from "@lobsterd/vm/service.ts";
import { obeyFault } from "./control.ts";

const config = loadConfig(configSchema);
const runDir = dirname(dirname(config.listen.unixPath));

runService(async (scope) => {
  scope.limitStop(config.shutdownGraceMs + 2000);
  await startVm(config, scope, { observeSteps: (moment, step) => obeyFault(runDir, moment, step) });
});
