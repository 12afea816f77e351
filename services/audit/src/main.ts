import { loadConfig } from "@lobsterd/chassis/config.ts";
import { runService } from "@lobsterd/chassis/lifecycle.ts";
import { configSchema } from "./config.ts";
import { startAudit } from "./service.ts";

const config = loadConfig(configSchema);

runService(async (scope) => {
  scope.limitStop(config.shutdownGraceMs + 2000);
  await startAudit(config, scope);
});
