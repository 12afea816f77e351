/**
 * Takes one control of the metrics away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/chassis/src/metrics.ablation.ts`.
 */
import { test } from "node:test";
import { type ControlTest, type Removal, requireNoticed } from "./testing-control-removal.ts";

interface Ablation {
  readonly control: string;
  readonly removals: readonly Removal[];
  readonly test: ControlTest;
}

const chassisTest = (name: string): ControlTest => ({ service: "chassis", file: "metrics.test.ts", name });
const removal = (find: string, replace: string): Removal => ({ file: "chassis/src/metrics.ts", find, replace });

const ablations: readonly Ablation[] = [
  {
    control: "no value outside of the list",
    removals: [removal("!isList(values) || values.includes(value) ? value : otherValue", "value")],
    test: chassisTest("never have a value outside of the list, nor an attribute that is not declared"),
  },
  {
    control: "no attribute that is not declared",
    removals: [removal("  const kept: Attributes = {};", "  const kept: Attributes = { ...given };")],
    test: chassisTest("never have a value outside of the list, nor an attribute that is not declared"),
  },
  {
    control: "counters begin at 0",
    removals: [removal("for (const attributes of startingPoints(spec)) counter().add(0, attributes);", "")],
    test: chassisTest("a counter begins at 0 for every combination of values it can have"),
  },
  {
    control: "counters of more than one attribute beginning at 0",
    removals: [removal("    [{}],\n  );", "    [{}],\n  ).filter((point) => Object.keys(point).length < 2);")],
    test: chassisTest("a counter begins at 0 for every combination of values it can have"),
  },
];

for (const { control, removals, test: controlTest } of ablations) {
  test(`without ${control} a test goes red`, { timeout: 300_000 }, async () => {
    await requireNoticed(removals, controlTest);
  });
}
