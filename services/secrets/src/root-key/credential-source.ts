import { existsSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../errors.ts";
import { PrivateFileError, readPrivateFile } from "./private-file.ts";
import { type RootKey, type RootKeySource, rootKeyBytes, toRootKey } from "./root-key.ts";

/**
 * The root key is a credential that systemd decrypted for this unit (`LoadCredentialEncrypted=<name>:…`): a file of 32 raw bytes in
 * `$CREDENTIALS_DIRECTORY`, which is the unit's own. For a rotation an operator loads the next key as `<name>-next` and starts the unit again;
 * afterwards it takes the first one's place in the unit file. `directory` is `undefined` outside of such a unit.
 */
export function credentialRootKeys(directory: string | undefined, name: string): RootKeySource {
  const pathOf = (credential: string) => {
    if (directory === undefined) throw new PrivateFileError("missing", "there is no directory of systemd credentials");
    return join(directory, credential);
  };
  const read = (credential: string): RootKey => {
    const path = pathOf(credential);
    return toRootKey(readPrivateFile(path, { minBytes: rootKeyBytes, maxBytes: rootKeyBytes, credential: true }), path);
  };
  const nextName = `${name}-next`;
  const hasNext = () => directory !== undefined && existsSync(pathOf(nextName));
  return {
    kind: "systemd-credential",
    read: () => ({ current: read(name), next: hasNext() ? read(nextName) : undefined }),
    makeNext() {
      if (!hasNext()) throw fail("NEXT_ROOT_KEY_MISSING", `the unit has no credential ${nextName} to rotate to`);
    },
    // The directory is read-only: both keys stay until the unit file names the new one only.
    promoteNext: () => undefined,
  };
}
