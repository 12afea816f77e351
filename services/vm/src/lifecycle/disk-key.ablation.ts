/** Takes one control of the encryption of disks away, in a copy of the sources, and shows the test that goes red. */
import { test } from "node:test";
import { type Alteration, requireNoticed } from "../posture/testing/altered-copy.ts";

const [keys, restoring, changing, cipher, mapping] = [
  "../lifecycle/disk-key.test.ts",
  "../backups/restore.test.ts",
  "../backups/change-disk-key.test.ts",
  "../launcher/disk-cipher.test.ts",
  "../guest/disk-mapping.test.ts",
];

/** What is taken away, from where, the beginning of the name of the test that notices, and the file of that test. */
const controls: readonly (readonly [what: string, alteration: Alteration, name: string, tests: string])[] = [
  [
    "the key on the drive of a boot",
    { file: "../lifecycle/boot.ts", find: "    ...secrets,\n", replace: "    ...secrets,\n    diskKey: undefined,\n" },
    "a tenant's disk is made with its key",
    keys,
  ],
  [
    "what binds the key to its microVM",
    { file: "../lifecycle/disk-key.ts", find: "objectId: vmId, wrappedKey", replace: 'objectId: "disk", wrappedKey' },
    "a tenant's disk is made with its key",
    keys,
  ],
  [
    "two keys in one",
    {
      file: "../lifecycle/disk-key.ts",
      find: 'new Uint8Array(hkdfSync("sha256", dataKey, "", "lobsterd disk", diskKeyBytes))',
      replace: "Uint8Array.from([...dataKey, ...dataKey])",
    },
    "a tenant's disk is made with its key",
    keys,
  ],
  [
    "the same key for a boot that is tried once more",
    {
      file: "../lifecycle/spawn.ts",
      find: "prepareJail(life, tenant, secrets.diskKey, signal, fill)",
      replace: "prepareJail(life, tenant, new Uint8Array(64), signal, fill)",
    },
    "a boot that is tried once more",
    keys,
  ],
  [
    "the plain disk of a tenant of before",
    {
      file: "../lifecycle/disk-key.ts",
      find: "  if (wrappedDiskKey === undefined) return undefined;\n",
      replace: "  if (wrappedDiskKey === undefined) throw new Error();\n",
    },
    "a tenant of before there were keys",
    keys,
  ],
  [
    "a key of its own for a restored tenant",
    {
      file: "../backups/restore-new.ts",
      find: "change: changeDiskKey(sourceKey, diskKey)",
      replace: "change: (piece: Uint8Array) => Uint8Array.from(piece)",
    },
    "the disk of a restore to a new name",
    restoring,
  ],
  [
    "holes of a disk whose key changes",
    { file: "../backups/change-disk-key.ts", find: "if (!never.equals(old)) ", replace: "" },
    "what was under one key",
    changing,
  ],
  [
    "the number of a sector in its cipher",
    {
      file: "../launcher/disk-cipher.ts",
      find: "createCipheriv(algorithm, key, tweakOf(sector + index))",
      replace: "createCipheriv(algorithm, key, tweakOf(sector))",
    },
    "each sector is XTS",
    cipher,
  ],
  [
    "the kernel's clearing of its copy of the table",
    { file: "../guest/disk-mapping.ts", find: "  table.writeUInt32LE(secureData, 28);\n", replace: "" },
    "the table is the whole disk",
    mapping,
  ],
];

for (const [what, alteration, name, tests] of controls) {
  test(`${what} is missed when it is gone`, async () => {
    await requireNoticed(alteration, tests, name);
  });
}
