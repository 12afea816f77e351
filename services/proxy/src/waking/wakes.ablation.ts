/** Takes one bound of held requests away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const unit = "services/proxy/src/waking/wakes.test.ts";
const suite = "requests to sleeping tenants";
const wakes = "services/proxy/src/waking/wakes.ts";

const bounds: readonly (readonly [what: string, removal: Removal, test: string])[] = [
  [
    "one question for all that wait",
    { file: wakes, find: "if (known !== undefined) return known;", replace: "" },
    "ask once for a hundred, which go on as soon as the route is awake",
  ],
  [
    "requests of one tenant",
    { file: wakes, find: "|| question.waiting.size >= limits.maxHeldPerTenant", replace: "" },
    "are bounded for a tenant, in all, and in how many tenants are asked about",
  ],
  [
    "requests in all",
    { file: wakes, find: "if (held >= limits.maxHeld)", replace: "if (false)" },
    "are bounded for a tenant, in all, and in how many tenants are asked about",
  ],
  [
    "tenants asked about",
    { file: wakes, find: "if (questions.size >= limits.maxQuestions) return undefined;", replace: "" },
    "are bounded for a tenant, in all, and in how many tenants are asked about",
  ],
  [
    "a refusal that holds for its tenant",
    { file: wakes, find: "else refusals.set(tenant, refusal);", replace: "" },
    "are answered at once when the wake fails, and the tenant is not asked for again before the time that was told",
  ],
  [
    "a refusal that holds for the host",
    { file: wakes, find: 'if (verdict.scope === "host") hostRefusal = refusal;', replace: "if (false) return;" },
    "are refused for every tenant while the host is busy, with one question in all",
  ],
  [
    "the end of those that wait for a route that goes",
    {
      file: "services/proxy/src/waking/wakes.ts",
      find: 'route === undefined ? { kind: "gone" } : { kind: "awake" }',
      replace: '{ kind: "awake" }',
    },
    "are answered at once when the route goes",
  ],
];

export const ablations: readonly Ablation[] = bounds.map(([control, removal, name]) => ({
  control,
  removals: [removal],
  noticedBy: { file: unit, name: `${suite} ${name}` },
}));

if (import.meta.main) ablate(ablations);
