import { fail } from "../errors.ts";
import { PrivateFileError } from "./private-file.ts";
import { type RootKey, type RootKeySource, toRootKey } from "./root-key.ts";

/**
 * The root key is a variable of the environment, 32 bytes in base64. For development only: it stays readable in `/proc/<pid>/environ` for the life
 * of the process, and every child inherits it. The configuration refuses it in production mode.
 */
export function environmentRootKeys(lookUp: (variable: string) => string | undefined, variable: string): RootKeySource {
  const nextVariable = `${variable}_NEXT`;
  const read = (name: string): RootKey => {
    const value = lookUp(name);
    if (value === undefined) throw new PrivateFileError("missing", `there is no variable ${name}`);
    if (!/^[A-Za-z0-9+/]{43}=$/.test(value)) {
      throw new PrivateFileError("unsafe", `${name} is not 32 bytes in base64`);
    }
    return toRootKey(Buffer.from(value, "base64"), name);
  };
  return {
    kind: "environment",
    read: () => ({
      current: read(variable),
      next: lookUp(nextVariable) === undefined ? undefined : read(nextVariable),
    }),
    makeNext() {
      if (lookUp(nextVariable) !== undefined) return;
      throw fail("NEXT_ROOT_KEY_MISSING", `there is no variable ${nextVariable} to rotate to`);
    },
    promoteNext: () => undefined,
  };
}
