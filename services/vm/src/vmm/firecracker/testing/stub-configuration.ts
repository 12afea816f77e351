import type { Json } from "./stub-machine.ts";

/** GET /vm/config as Firecracker 1.16.1 writes it: unset fields are null, a burst of 0 too, and logger, metrics and serial always. */
export function reportedConfiguration(resources: ReadonlyMap<string, Json>): Json {
  const all = (prefix: string) => [...resources].filter(([path]) => path.startsWith(prefix)).map(([, body]) => body);
  const drives: Json[] = all("/drives/").map((drive) => ({ partuuid: null, socket: null, ...drive }));
  drives.sort((one, other) => Number(other["is_root_device"]) - Number(one["is_root_device"]));
  const document = {
    balloon: resources.get("/balloon") ?? null,
    drives,
    "boot-source": resources.get("/boot-source") ?? { kernel_image_path: "", initrd_path: null, boot_args: null },
    "cpu-config": null,
    logger: null,
    "machine-config": resources.get("/machine-config") ?? null,
    metrics: null,
    "mmds-config": resources.get("/mmds/config") ?? null,
    "network-interfaces": all("/network-interfaces/").map((network) => ({ mtu: null, ...network })),
    vsock: resources.get("/vsock") ?? null,
    entropy: resources.get("/entropy") ?? null,
    pmem: all("/pmem/"),
    "memory-hotplug": resources.get("/hotplug/memory") ?? null,
  };
  return withoutZeroBursts(document) as Json;
}

function withoutZeroBursts(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutZeroBursts);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === "one_time_burst" && inner === 0 ? null : withoutZeroBursts(inner),
    ]),
  );
}

/** `changes` laid over a document, field by field; a list or a plain value takes the place of what was there. */
export function overlaid(document: unknown, changes: unknown): unknown {
  const isObject = (value: unknown): value is Json =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject(document) || !isObject(changes)) return changes;
  const keys = new Set([...Object.keys(document), ...Object.keys(changes)]);
  return Object.fromEntries(
    [...keys].map((key) => [key, key in changes ? overlaid(document[key], changes[key]) : document[key]]),
  );
}
