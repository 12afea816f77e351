/** Takes one control of idleness away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const detector = "services/vm/src/idle/detector.ts";
const evidence = "services/vm/src/idle/evidence.ts";
const tests = "services/vm/src/idle/idle.test.ts";

const controls: readonly (readonly [what: string, removal: Removal, name: string])[] = [
  [
    "what net sees of outbound connections",
    { file: evidence, find: "usage.outboundConnections > 0", replace: "false" },
    "a tenant with only an outbound connection",
  ],
  [
    "requests that are served",
    { file: evidence, find: 'seen: isServing ? ["inbound-connection"] : []', replace: "seen: []" },
    "a request or a WebSocket that is served",
  ],
  [
    "what net sees of a guest's claim to serve",
    { file: evidence, find: "usage.inboundConnections > 0 && ", replace: "" },
    "a guest cannot pretend to serve",
  ],
  [
    "the last packet",
    { file: detector, find: "Math.max(state.lastActiveMs, beganMs - inboundSilenceMs)", replace: "state.lastActiveMs" },
    "the threshold begins at the last packet",
  ],
  [
    "that the unknown is not idle",
    { file: detector, find: '      state.awakeBy = ["unknown"];\n      state.lastActiveMs = now();', replace: "" },
    "a tenant of which nothing is known, since activity fails, is never suspended",
  ],
  [
    "that nothing is known of a gap between two looks",
    { file: detector, find: ' || state.awakeBy.includes("unknown")', replace: "" },
    "a tenant of which nothing is known, since getNetworkUsage fails, is never suspended",
  ],
  [
    "the last look at holds",
    { file: detector, find: "if (parts.isHeld(vmId)) throw", replace: "if (false) throw" },
    "a hold keeps a tenant awake",
  ],
  [
    "the budget of a guest's word",
    { file: detector, find: "claimed.length > 0 && parts.budget.isLeft(vmId)", replace: "claimed.length > 0" },
    "a guest is kept awake by its own word",
  ],
  [
    "the bound of suspends at a time",
    { file: detector, find: "suspending.size >= parts.concurrentSuspends || ", replace: "" },
    "at most two are suspended",
  ],
  [
    "the pause after a failed suspend",
    { file: detector, find: "state.notBeforeMs = now() + pauseMs;", replace: "" },
    "a suspend that fails",
  ],
  [
    "a clock that is never set",
    {
      file: "services/vm/src/lifecycle/fake-run.ts",
      find: "now: () => clock.steadyMs,",
      replace: "now: () => clock.nowMs + clock.steadyMs,",
    },
    "a host's clock that jumps",
  ],
  [
    "the pause before a guest that hangs is asked again",
    { file: detector, find: "if (beganMs < state.nextLookMs) return;", replace: "" },
    "guests that do not answer",
  ],
  [
    "the policy of never",
    { file: "services/vm/src/lifecycle/suspend.ts", find: 'if (idlePolicy.mode === "never")', replace: "if (false)" },
    "a policy of never or manual",
  ],
  [
    "the minimum time of a run",
    { file: detector, find: " && (parts.hasRunEnough?.(tenant) ?? true)", replace: "" },
    "a tenant that was resumed begins anew",
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name]) => ({
  control,
  removals: [removal],
  noticedBy: { file: tests, name },
}));

if (import.meta.main) ablate(ablations);
