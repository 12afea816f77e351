import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { lastRecord, type SealedHeader } from "./header.ts";
import { openSet } from "./open-set.ts";
import type { PartSource, SealOrder } from "./seal-set.ts";

export const exampleHeader: Omit<SealedHeader, "parts"> = {
  format: 1,
  kind: "snapshot",
  tenant: "alice",
  vmId: "0123456789abcdef0123456789abcdef",
  generation: 3,
  counter: 7,
  createTimeMs: 1_764_000_000_000,
  machine: {
    vmm: "qemu",
    vmmVersion: "7.2.22",
    accelerator: "tcg",
    cpuModel: "EPYC, stepping 1",
    microcode: "0xa0011d1",
    hostKernel: "6.1.0-56-amd64",
    vcpuCount: 1,
    memoryMib: 128,
    image: "base",
    imageDigests: { vmlinux: "a".repeat(64), initrd: "b".repeat(64), rootfs: "c".repeat(64) },
  },
  keyId: "alice:1",
  wrappedKey: "d3JhcHBlZA==",
};

/** A part of these bytes, read in pieces that fit no chunk. */
export function partOf(name: string, bytes: Uint8Array, pieceBytes = 50_000): PartSource {
  return {
    name,
    plainBytes: bytes.length,
    async *read() {
      for (let offset = 0; offset < bytes.length; offset += pieceBytes)
        yield bytes.subarray(offset, offset + pieceBytes);
    },
  };
}

/** The same without a length, as a part is that is sealed while it is being made. */
export function growingPartOf(name: string, bytes: Uint8Array): PartSource {
  const { read } = partOf(name, bytes);
  return { name, read };
}

/** A directory on a tmpfs where there is one, removed with the test. */
export function scratch(t: Pick<TestContext, "after">): string {
  const directory = mkdtempSync(join("/dev/shm", "lobsterd-sealing-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function orderOf(path: string, parts: readonly PartSource[], extra: Partial<SealOrder> = {}): SealOrder {
  return { path, parts, header: exampleHeader, dataKey: randomBytes(32), compression: "zeros", ...extra };
}

/** Opens a set and returns its parts; the key is copied, since opening clears it. */
export async function opened(path: string, dataKey: Uint8Array): Promise<Map<string, Buffer>> {
  const pieces = new Map<string, Buffer[]>();
  await openSet(
    path,
    async () => Uint8Array.from(dataKey),
    async ({ name }, plain) => {
      pieces.set(name, [...(pieces.get(name) ?? []), Buffer.from(plain)]);
    },
  );
  return new Map([...pieces].map(([name, list]) => [name, Buffer.concat(list)]));
}

/** Where each record of a sealed file begins, and where the last one ends. */
export function recordEdges(path: string): number[] {
  const file = readFileSync(path);
  const edges: number[] = [];
  let offset = 12 + file.readUInt32BE(8);
  while (offset < file.length) {
    edges.push(offset);
    offset += 4 + (file.readUInt32BE(offset) & ~lastRecord);
  }
  return [...edges, offset];
}
