import { loadConfig } from "@lobsterd/chassis/config.ts";
import { runService } from "@lobsterd/chassis/lifecycle.ts";
import { checkedConfigSchema } from "./config.ts";
import { startSecrets } from "./service.ts";

const config = loadConfig(checkedConfigSchema);

runService(async (scope) => {
  scope.limitStop(config.shutdownGraceMs + 2000);
  await startSecrets(config, scope);
});
