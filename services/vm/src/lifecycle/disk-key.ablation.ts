/** Takes one control of the encryption of disks away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const [keys, restoring, changing, cipher, mapping] = [
  "services/vm/src/lifecycle/disk-key.test.ts",
  "services/vm/src/backups/restore.test.ts",
  "services/vm/src/backups/change-disk-key.test.ts",
  "services/vm/src/launcher/disk-cipher.test.ts",
  "services/vm/src/guest/disk-mapping.test.ts",
];

/** What is taken away, from where, the beginning of the name of the test that notices, and the file of that test. */
const controls: readonly (readonly [what: string, removal: Removal, name: string, tests: string])[] = [
  [
    "the key on the drive of a boot",
    {
      file: "services/vm/src/lifecycle/boot.ts",
      find: "    ...secrets,\n",
      replace: "    ...secrets,\n    diskKey: undefined,\n",
    },
    "a tenant's disk is made with its key",
    keys,
  ],
  [
    "what binds the key to its microVM",
    {
      file: "services/vm/src/lifecycle/disk-key.ts",
      find: "objectId: vmId, wrappedKey",
      replace: 'objectId: "disk", wrappedKey',
    },
    "a tenant's disk is made with its key",
    keys,
  ],
  [
    "two keys in one",
    {
      file: "services/vm/src/lifecycle/disk-key.ts",
      find: 'new Uint8Array(hkdfSync("sha256", dataKey, "", "lobsterd disk", diskKeyBytes))',
      replace: "Uint8Array.from([...dataKey, ...dataKey])",
    },
    "a tenant's disk is made with its key",
    keys,
  ],
  [
    "the same key for a boot that is tried once more",
    {
      file: "services/vm/src/lifecycle/spawn.ts",
      find: "prepareJail(life, tenant, secrets.diskKey, signal, fill)",
      replace: "prepareJail(life, tenant, new Uint8Array(64), signal, fill)",
    },
    "a boot that is tried once more",
    keys,
  ],
  [
    "the plain disk of a tenant of before",
    {
      file: "services/vm/src/lifecycle/disk-key.ts",
      find: "  if (wrappedDiskKey === undefined) return undefined;\n",
      replace: "  if (wrappedDiskKey === undefined) throw new Error();\n",
    },
    "a tenant of before there were keys",
    keys,
  ],
  [
    "the end of a tenant's key with its spawn",
    { file: "services/vm/src/lifecycle/removal.ts", find: ", withUnusedKey: true", replace: "" },
    "a spawn whose awaitWorkload fails after its effect leaves nothing",
    "services/vm/src/lifecycle/operations.test.ts",
  ],
  [
    "the end of a key that was made before anything else",
    {
      file: "services/vm/src/lifecycle/removal.ts",
      find: '["issue-identity", "prepare-jail"]',
      replace: '["issue-identity"]',
    },
    "vm dying when write-disk of a restore to a new name is started leaves no tenant",
    restoring,
  ],
  [
    "a key of its own for a restored tenant",
    {
      file: "services/vm/src/backups/restore-new.ts",
      find: "change: changeDiskKey(sourceKey, diskKey)",
      replace: "change: (piece: Uint8Array) => Uint8Array.from(piece)",
    },
    "the disk of a restore to a new name",
    restoring,
  ],
  [
    "holes of a disk whose key changes",
    { file: "services/vm/src/backups/change-disk-key.ts", find: "if (!never.equals(old)) ", replace: "" },
    "what was under one key",
    changing,
  ],
  [
    "the number of a sector in its cipher",
    {
      file: "services/vm/src/launcher/disk-cipher.ts",
      find: "createCipheriv(algorithm, key, tweakOf(sector + index))",
      replace: "createCipheriv(algorithm, key, tweakOf(sector))",
    },
    "each sector is XTS",
    cipher,
  ],
  [
    "the kernel's clearing of its copy of the table",
    { file: "services/vm/src/guest/disk-mapping.ts", find: "  table.writeUInt32LE(secureData, 28);\n", replace: "" },
    "the table is the whole disk",
    mapping,
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name, file]) => ({
  control,
  removals: [removal],
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
