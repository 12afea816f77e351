import type { Dashboard } from "./dashboard.ts";
import { auditHealth } from "./dashboards/audit.ts";
import { calls } from "./dashboards/calls.ts";
import { host } from "./dashboards/host.ts";
import { network } from "./dashboards/network.ts";
import { posture } from "./dashboards/posture.ts";
import { spawn } from "./dashboards/spawn.ts";

/** Every dashboard; its file is `<uid>.json`. */
export const dashboards: readonly Dashboard[] = [spawn, host, posture, network, auditHealth, calls];
