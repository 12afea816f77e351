/**
 * Takes one control of the metrics away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/chassis/src/metrics.ablation.ts`.
 */
import { type Ablation, ablate, type ControlTest, type Removal } from "./testing-control-removal.ts";

const chassisTest = (name: string): ControlTest => ({ file: "services/chassis/src/metrics.test.ts", name });
const removal = (find: string, replace: string): Removal => ({
  file: "services/chassis/src/metrics.ts",
  find,
  replace,
});

export const ablations: readonly Ablation[] = [
  {
    control: "no value outside of the list",
    removals: [removal("!isList(values) || values.includes(value) ? value : otherValue", "value")],
    noticedBy: chassisTest("never have a value outside of the list, nor an attribute that is not declared"),
  },
  {
    control: "no attribute that is not declared",
    removals: [removal("  const kept: Attributes = {};", "  const kept: Attributes = { ...given };")],
    noticedBy: chassisTest("never have a value outside of the list, nor an attribute that is not declared"),
  },
  {
    control: "counters begin at 0",
    removals: [removal("for (const attributes of startingPoints(spec)) counter().add(0, attributes);", "")],
    noticedBy: chassisTest("a counter begins at 0 for every combination of values it can have"),
  },
  {
    control: "counters of more than one attribute beginning at 0",
    removals: [removal("    [{}],\n  );", "    [{}],\n  ).filter((point) => Object.keys(point).length < 2);")],
    noticedBy: chassisTest("a counter begins at 0 for every combination of values it can have"),
  },
];

if (import.meta.main) ablate(ablations);
