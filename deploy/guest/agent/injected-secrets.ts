import type { SecretFiles } from "./secret-files.ts";
import type { Workload } from "./workload.ts";
import type { WorkloadConfiguration } from "./workload-configuration.ts";

/** One secret and where it goes: a file of its name, a variable, or a field. */
export type Injected = {
  readonly name: string;
  readonly value: Uint8Array;
  readonly target:
    | { readonly kind: "file" }
    | { readonly kind: "environment"; readonly variable: string }
    | { readonly kind: "configuration"; readonly pointer: string };
};

/**
 * Puts a set of secrets in its places. Files change in place and are the workload's to read again. A process cannot be given another environment
 * and need not look at its configuration twice, so `replace` tells when one of these has changed and the workload has to be restarted.
 */
export class InjectedSecrets {
  readonly #files: SecretFiles;
  readonly #configuration: WorkloadConfiguration;
  readonly #workload: Workload;

  constructor(files: SecretFiles, configuration: WorkloadConfiguration, workload: Workload) {
    this.#files = files;
    this.#configuration = configuration;
    this.#workload = workload;
  }

  /** Makes the places hold exactly `secrets`; calls are serialised by the caller. A set that does not fit throws and changes nothing. */
  async replace(secrets: readonly Injected[]): Promise<"in-place" | "restart-needed"> {
    const files = secrets.filter(({ target }) => target.kind === "file");
    const variables: Record<string, string> = {};
    const fields = new Map<string, string>();
    for (const { value, target } of secrets) {
      if (target.kind === "environment") variables[target.variable] = text(value);
      if (target.kind === "configuration") fields.set(target.pointer, text(value));
    }
    const configuration = await this.#configuration.compose(fields);
    await this.#files.replace(files);
    const isOtherConfiguration = await this.#configuration.write(configuration);
    const isOtherEnvironment = this.#workload.setSecretEnvironment(variables);
    return isOtherConfiguration || isOtherEnvironment ? "restart-needed" : "in-place";
  }

  /**
   * Takes every secret out of its place; calls are serialised as those of `replace`. What the workload itself holds in its memory stays, and
   * the same set again is "in-place".
   */
  async forget(): Promise<void> {
    await this.#files.forget();
    await this.#configuration.forget();
    this.#workload.forgetSecretEnvironment();
  }
}

function text(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("utf8");
}
