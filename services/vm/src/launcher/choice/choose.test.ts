import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseVmm, type VmmFacts, type VmmSettings, VmmUnavailableError } from "./choose.ts";

type Guest = "runs" | "dead";

/** A host: whether Firecracker is installed and verified, and whether guests run under each VMM with KVM. Remembers what it was asked. */
function hostOf(installed: boolean, firecracker: Guest, qemu: Guest) {
  const asked: string[] = [];
  const facts: VmmFacts = {
    firecrackerMissing: async () => {
      asked.push("installed");
      return installed ? undefined : "not installed";
    },
    probe: async (vmm) => {
      asked.push(`probe ${vmm}`);
      const alive = (vmm === "firecracker" ? firecracker : qemu) === "runs";
      return { alive, detail: alive ? `${vmm} answered` : `${vmm} was silent` };
    },
  };
  return { facts, asked };
}

const production = hostOf(true, "runs", "runs");
const withoutKvm = () => hostOf(true, "dead", "dead");
const laptop = () => hostOf(false, "dead", "runs");
const here = () => hostOf(false, "dead", "dead");

/** Settings, host, what is chosen, its reason or the refusal's, and what was asked of the host. */
const cases: readonly (readonly [VmmSettings, ReturnType<typeof hostOf>, string, RegExp, readonly string[]])[] = [
  [
    { kind: "auto", accelerator: "auto" },
    production,
    "firecracker kvm",
    /firecracker answered/,
    ["installed", "probe firecracker"],
  ],
  [
    { kind: "auto", accelerator: "auto" },
    hostOf(true, "dead", "runs"),
    "qemu kvm",
    /not Firecracker: .*silent.*; QEMU under KVM/,
    ["installed", "probe firecracker", "probe qemu"],
  ],
  [
    { kind: "auto", accelerator: "auto" },
    laptop(),
    "qemu kvm",
    /not installed; QEMU under KVM/,
    ["installed", "probe qemu"],
  ],
  [
    { kind: "auto", accelerator: "auto" },
    here(),
    "qemu tcg",
    /KVM runs no guest here: qemu was silent/,
    ["installed", "probe qemu"],
  ],
  [{ kind: "auto", accelerator: "tcg" }, here(), "qemu tcg", /as configured/, ["installed"]],
  [
    { kind: "auto", accelerator: "kvm" },
    here(),
    "refused",
    /QEMU under KVM is configured/,
    ["installed", "probe qemu"],
  ],
  [
    { kind: "firecracker", accelerator: "auto" },
    here(),
    "refused",
    /Firecracker is configured: not installed/,
    ["installed"],
  ],
  [
    { kind: "firecracker", accelerator: "tcg" },
    withoutKvm(),
    "refused",
    /Firecracker is configured: no guest runs under it/,
    ["installed", "probe firecracker"],
  ],
  [
    { kind: "firecracker", accelerator: "auto" },
    hostOf(true, "runs", "dead"),
    "firecracker kvm",
    /answered/,
    ["installed", "probe firecracker"],
  ],
  [{ kind: "qemu", accelerator: "tcg" }, hostOf(true, "runs", "runs"), "qemu tcg", /as configured/, []],
  [{ kind: "qemu", accelerator: "auto" }, hostOf(true, "runs", "runs"), "qemu kvm", /answered/, ["probe qemu"]],
  [{ kind: "qemu", accelerator: "auto" }, here(), "qemu tcg", /KVM runs no guest/, ["probe qemu"]],
  [{ kind: "qemu", accelerator: "kvm" }, laptop(), "qemu kvm", /answered/, ["probe qemu"]],
  [{ kind: "qemu", accelerator: "kvm" }, here(), "refused", /silent/, ["probe qemu"]],
];

for (const [settings, { facts, asked }, chosen, reason, questions] of cases) {
  test(`${settings.kind} and ${settings.accelerator}: ${chosen}, ${reason.source}`, async () => {
    asked.length = 0;
    const [what, why] = await chooseVmm(settings, facts).then(
      (choice) => [`${choice.vmm} ${choice.accelerator}`, choice.reason],
      (error: unknown) => {
        assert.ok(error instanceof VmmUnavailableError);
        return ["refused", error.message];
      },
    );
    assert.equal(what, chosen);
    assert.match(why ?? "", reason);
    assert.deepEqual(asked, questions);
  });
}
