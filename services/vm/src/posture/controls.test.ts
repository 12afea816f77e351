import assert from "node:assert/strict";
import { test } from "node:test";
import { connectionTableNeed } from "./controls/connection-table.ts";
import { judgeCpuTemplate } from "./controls/vmm.ts";
import { controls } from "./controls.ts";
import { cpuCases } from "./testing/cpu-cases.ts";
import { hostCases } from "./testing/host-cases.ts";
import type { Tree } from "./testing/host-tree.ts";
import { soundTree, viewOf } from "./testing/sound-host.ts";

const cases = [...cpuCases, ...hostCases];
const ids = controls.map(({ id }) => id);

test("every HOST control of the catalogue has a row, once, with words for its requirement and its remedy", () => {
  const catalogue = Array.from({ length: 17 }, (_, index) => `HOST-${String(index + 1).padStart(2, "0")}`);
  assert.deepEqual(ids.filter((id) => id.startsWith("HOST-")).sort(), catalogue);
  assert.equal(new Set(ids).size, ids.length);
  for (const { id, requirement, remedy } of controls) assert.ok(requirement.length > 10 && remedy.length > 10, id);
  const optional = controls.filter(({ required }) => !required).map(({ id }) => id);
  assert.deepEqual(optional, ["HOST-08", "HOST-09", "HOST-11", "HOST-12", "HOST-13", "HOST-17", "FC-17", "SUP-03"]);
});

test("every control has a case that passes, one that fails and one with something missing", () => {
  for (const { id } of controls) {
    const own = cases.filter(({ control }) => control === id);
    // A template cannot be set yet, so no host fails the row; its matrix is below.
    const wanted = id === "FC-17" ? ["pass"] : ["pass", "fail"];
    for (const verdict of wanted)
      assert.ok(
        own.some((one) => one.verdict === verdict),
        `${id}: no ${verdict}`,
      );
    assert.ok(
      own.some(({ name }) => name.includes("missing")),
      `${id}: nothing missing`,
    );
  }
  assert.deepEqual(
    cases.filter(({ control }) => !ids.includes(control)),
    [],
  );
});

for (const control of controls) {
  test(`${control.id}: every case has its verdict`, async () => {
    for (const { name, verdict, tree, view } of cases.filter((one) => one.control === control.id)) {
      const finding = await control.check(viewOf(tree, view));
      assert.equal(finding.verdict, verdict, `${control.id}, ${name}: ${finding.measured}`);
      assert.ok(finding.measured !== "" && !finding.measured.includes("\n"), `${name}: ${finding.measured}`);
    }
  });
}

/** Files that a control asks for and can do without, because another one tells. */
const dispensable: Readonly<Record<string, RegExp>> = {
  "HOST-03": /^\/proc\/4[01]\//,
  "HOST-07": /vulnerabilities\/old_microcode$/,
};

test("without any one file that it reads, no control passes", async () => {
  for (const control of controls) {
    const sound = viewOf();
    const finding = await control.check(sound);
    assert.ok(
      ["pass", "not-applicable"].includes(finding.verdict),
      `${control.id} on a sound host: ${finding.measured}`,
    );
    const read = [...sound.files.asked].filter((path) => path in soundTree && !dispensable[control.id]?.test(path));
    for (const path of read) {
      for (const entry of [undefined, { denied: true }]) {
        const tree: Tree = { [path]: entry };
        const { verdict, measured } = await control.check(viewOf(tree));
        assert.ok(
          verdict === "fail" || verdict === "unknown",
          `${control.id} without ${path}: ${verdict}, ${measured}`,
        );
      }
    }
  }
});

test("an empty host passes nothing", async () => {
  const nothing: Tree = Object.fromEntries(Object.keys(soundTree).map((path) => [path, undefined]));
  for (const control of controls.filter(({ id }) => /^HOST-/.test(id) && id !== "HOST-05")) {
    const { verdict } = await control.check(viewOf(nothing));
    assert.ok(verdict === "fail" || verdict === "unknown", `${control.id}: ${verdict}`);
  }
});

test("the connection table grows with the slots as the catalogue computes it", () => {
  for (const [slots, need] of [
    [0, 20_480],
    [1, 23_040],
    [100, 276_480],
    [1000, 2_580_480],
  ] as const) {
    assert.equal(connectionTableNeed(slots), need, `${slots} slots`);
  }
});

test("a timer thread that is placed, or gone, while a check looks on is no failure", async () => {
  const placement = controls.find(({ id }) => id === "HOST-03");
  assert.ok(placement !== undefined);
  const late = { "/proc/41/cgroup": "0::/" };
  for (const [then, measured] of [
    [{}, "1 kvm-pit threads, each in its VM's cgroup"],
    [{ "/proc/41/comm": undefined, "/proc/41/cgroup": undefined }, "no kvm-pit thread"],
  ] as const) {
    const before = viewOf(late, { placementLimitMs: 60_000 });
    const after = viewOf(then);
    let asked = 0;
    const text = (path: string) => {
      if (path === "/proc/41/comm") asked += 1;
      return (asked > 1 ? after : before).files.text(path);
    };
    assert.deepEqual(await placement.check({ ...before, files: { ...before.files, text } }), {
      verdict: "pass",
      measured,
    });
  }
});

test("a CPU template is refused on new host kernels with a Firecracker that hides mitigations", () => {
  for (const [kernelRelease, version, template, verdict] of [
    ["6.1.192", "1.16.1", "T2", "pass"],
    ["6.12.9", "1.16.1", "T2S", "pass"],
    ["6.13.0", "1.16.1", "T2", "fail"],
    ["6.18.63", "1.15.1", "T2CL", "fail"],
    ["6.18.63", "1.16.2", "T2", "pass"],
    ["6.18.63", "unheard-of", "T2", "unknown"],
    ["6.18.63", "1.16.1", "none", "pass"],
  ] as const) {
    const finding = judgeCpuTemplate({ kernelRelease, vmm: { version }, template });
    assert.equal(finding.verdict, verdict, `${kernelRelease} ${version} ${template}`);
  }
});
