import type { FileHandle } from "node:fs/promises";
import { mayBeTemplate } from "../artifacts/images.ts";
import type { LauncherHost } from "../host.ts";
import type { MemorySource } from "../jailer.ts";
import type { Arguments } from "../protocol.ts";
import { type TemplateDraft, templateKey } from "./template-store.ts";

/** What a start begins with. A template is loaded, or made of the VM while it boots. */
export type StartSource =
  | { readonly kind: "boot" | "incoming" }
  | { readonly kind: "load-template"; readonly key: string; readonly file: FileHandle }
  | { readonly kind: "save-template"; readonly draft: TemplateDraft };

/** A template that the launcher has of the VM's image and sizes, or the draft of one; undefined when the VM is only to be booted. */
export async function templateSource(
  host: LauncherHost,
  { image, vcpuCount, memoryMib, useTemplate }: Arguments<"start">,
  overlayMib: number,
): Promise<StartSource | undefined> {
  const { config, templates, artifacts, jailer } = host;
  if (!jailer.offersTemplates || !mayBeTemplate(config.imagesDir, image)) return undefined;
  const key = templateKey({ imageDirectory: await artifacts.image(image), vcpuCount, memoryMib, overlayMib });
  if (useTemplate === false) {
    await templates.drop(key);
    return undefined;
  }
  const file = await templates.open(key);
  if (file !== undefined) return { kind: "load-template", key, file };
  const draft = await templates.begin(key);
  return draft && { kind: "save-template", draft };
}

export function memoryOf(source: StartSource): MemorySource {
  if (source.kind === "load-template") return { template: source.file.fd };
  return source.kind === "incoming" ? "incoming" : "boot";
}
