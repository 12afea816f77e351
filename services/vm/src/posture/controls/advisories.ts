import { defectsOf } from "../../launcher/artifacts/firecracker-versions.ts";
import {
  type Control,
  daysSince,
  type Finding,
  failed,
  type HostView,
  judged,
  pass,
  unknown,
  worst,
} from "../control.ts";
import { compareReleases, type KnownVersions, releaseOf } from "../known-versions.ts";
import { readKernelRelease } from "./kernel.ts";

const maxTableAgeDays = 14;

/** What runs is in no published range of vulnerable releases. Caddy and the broker are not visible to `vm`: their versions are locked. */
export const noKnownAdvisory: Control = {
  id: "SUP-03",
  required: false,
  requirement: "kernel, VMM and Node are in no range of the advisory table, which was reviewed in the last 14 days",
  remedy: "update the component that the row names; keep the table of known versions current",
  check: async (host) => {
    const { known, nowMs } = host;
    if (!known.ok) return unknown(known.why);
    const table = known.value;
    const age = daysSince(table.reviewed, nowMs);
    const reviewed = `table reviewed ${table.reviewed}`;
    const versions = await readVersions(host);
    return worst([
      age < 0 || age > maxTableAgeDays ? unknown(`${reviewed}: too long ago to tell`) : pass(reviewed),
      ...versions.map(([component, reading]) => judged(reading, (version) => judgeVersion(component, version, table))),
    ]);
  },
};

type Component = KnownVersions["advisories"][number]["component"];

async function readVersions({ files, nodeVersion, vmm }: HostView) {
  const own = (value: string) => ({ ok: true, value }) as const;
  return [
    ["linux", await readKernelRelease(files)],
    ["node", own(nodeVersion)],
    ...(vmm?.vmm === "firecracker" ? [["firecracker", own(vmm.version)] as const] : []),
  ] as const satisfies ReadonlyArray<readonly [Component, unknown]>;
}

function judgeVersion(component: Component, version: string, { advisories }: KnownVersions): Finding {
  const release = releaseOf(version);
  if (release === undefined) return unknown(`${component} ${version} is no version`);
  const hit = advisories.filter(
    (row) =>
      row.component === component &&
      compareReleases(version, row.from) >= 0 &&
      compareReleases(version, row.before) < 0,
  );
  // The launcher's table of Firecracker is the one that it refuses by; an operator's newer table may add to it.
  const refused = component === "firecracker" ? defectsOf(release.join("."), { pci: true }) : [];
  const ids = new Set([...hit, ...refused].map(({ id }) => id));
  const measured = `${component} ${version}`;
  return ids.size === 0 ? pass(measured) : failed(`${measured}: ${[...ids].join(", ")}`);
}
