import { type Control, failed, notApplicable, pass, unknown } from "../control.ts";

/** Whoever carries off the disk with the sealed secrets must not carry off the key that opens them. */
export const rootKeyElsewhere: Control = {
  id: "G2",
  required: true,
  requirement: "a root key in a file is on another device than the secrets that it seals",
  remedy: "put the key on a volume of its own, or use another provider (systemd credential with TPM, Vault)",
  check: async ({ files, rootKey }) => {
    if (rootKey === undefined) return notApplicable("the place of the root key is not configured as a file");
    // Its directory: what is in it is for secrets' eyes alone.
    const key = await files.status(rootKey.keyDir);
    const store = await files.status(rootKey.storeDir);
    if (!key.ok) return unknown(key.why);
    if (!store.ok) return unknown(store.why);
    const measured = `key on device ${key.value.device}, secrets on device ${store.value.device}`;
    return key.value.device === store.value.device ? failed(measured) : pass(measured);
  },
};
