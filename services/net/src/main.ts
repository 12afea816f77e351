import { loadConfig } from "@lobsterd/chassis/config.ts";
import { runService } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { netConfigSchema } from "./config.ts";
import { startNetService } from "./service.ts";
import { tearDown } from "./teardown.ts";

const teardownFlag = process.argv.indexOf("--teardown");
if (teardownFlag >= 0) process.argv.splice(teardownFlag, 1);

const config = loadConfig(netConfigSchema);
const logger = createLogger({ service: config.service, level: config.logLevel });

if (teardownFlag >= 0) {
  await tearDown(config.netnsDir);
  logger.info("every slot and table was removed");
} else {
  runService(async (scope) => {
    scope.useLogger(logger);
    scope.limitStop(config.shutdownGraceMs + 5000);
    await startNetService(config, logger, scope);
  });
}
