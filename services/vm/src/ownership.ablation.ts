/** Takes one control of owners away at a time, in a copy of the sources, and shows that its test goes red. */
import { type Ablation, ablate, type ControlTest, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const removal = (file: string, find: string, replace: string): Removal => ({
  file: `services/${file}`,
  find,
  replace,
});
const others: ControlTest = {
  file: "services/vm/src/ownership.test.ts",
  name: "of a tenant of somebody else an owner is answered as of none, by every method, and nothing happens to it",
};
const own = { ...others, name: "an owner reaches its own tenants, sees no others, and spawns none" };
const repeated = { ...others, name: "an owner's eviction may be repeated by that owner, whoever has the name since" };
const nobodys = { ...others, name: "a client without a name in any tenant owns nothing: nobody's tenants are not its" };
const watched: ControlTest = {
  file: "services/vm/src/rpc/watch-tenants.test.ts",
  name: "an owner sees its tenants come and go, and nothing of the others",
};

export const ablations: readonly Ablation[] = [
  {
    control: "the tenant in a request is looked at",
    removals: [removal("chassis/src/owners.ts", "if (!ownership.owns(owner, tenant, message))", "if (false)")],
    noticedBy: others,
  },
  {
    control: "the tenant in the first message of a stream",
    removals: [removal("chassis/src/owners.ts", "if (isFirst) check(item);", "")],
    noticedBy: others,
  },
  {
    control: "the same words as for no tenant",
    removals: [removal("vm/src/ownership.ts", "unknown: tenantNotFound,", "unknown: () => tenantNotFound('another'),")],
    noticedBy: others,
  },
  {
    control: "a name and its owner are looked up together",
    removals: [
      removal(
        "vm/src/store/tenants.ts",
        "isOwned: (name, owner) => owned.get(owner, name)",
        "isOwned: (name) => byName.get(name)",
      ),
    ],
    noticedBy: others,
  },
  {
    control: "a list is the owner's",
    removals: [removal("vm/src/rpc/list-tenants.ts", ", size + 1, ownerOf(call)", ", size + 1")],
    noticedBy: own,
  },
  {
    control: "a watch is the owner's",
    removals: [removal("vm/src/rpc/watch-tenants.ts", "changes.after(revision, owner)", "changes.after(revision)")],
    noticedBy: watched,
  },
  {
    control: "a snapshot is the owner's",
    removals: [
      removal(
        "vm/src/rpc/watch-tenants.ts",
        "tenants.page(afterName, pageSize, owner)",
        "tenants.page(afterName, pageSize)",
      ),
    ],
    noticedBy: watched,
  },
  {
    control: "a name that is somebody else's by now",
    removals: [
      removal("vm/src/rpc/watch-tenants.ts", "named?.owner === owner ? named : undefined", "true ? named : undefined"),
    ],
    noticedBy: watched,
  },
  {
    control: "owners spawn nothing",
    removals: [removal("vm/src/access.ts", "spawnTenant: write,", 'spawnTenant: [...write, "owner"],')],
    noticedBy: own,
  },
  {
    control: "an eviction is repeated by its owner alone",
    removals: [
      removal(
        "vm/src/lifecycle/journal.ts",
        "AND name = ? AND owner = ? AND owner <> ''",
        "AND name = ? AND (owner = ? OR true)",
      ),
    ],
    noticedBy: repeated,
  },
  {
    control: "an empty name owns nothing",
    removals: [
      removal(
        "vm/src/store/tenants.ts",
        "WHERE owner = ? AND name = ? AND owner <> ''",
        "WHERE owner = ? AND name = ?",
      ),
    ],
    noticedBy: nobodys,
  },
];

if (import.meta.main) ablate(ablations);
