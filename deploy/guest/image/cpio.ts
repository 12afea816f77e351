/** One entry of an archive. `mode` holds the permission bits only. */
export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string; readonly mode: number }
  | { readonly kind: "file"; readonly path: string; readonly mode: number; readonly content: Uint8Array }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | {
      readonly kind: "device";
      readonly path: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000, device: 0o020000 } as const;

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === "file") return entry.content;
  return entry.kind === "symlink" ? Buffer.from(entry.target) : new Uint8Array(0);
}

function padded(length: number): number {
  return (length + 3) & ~3;
}

function record(
  inode: number,
  path: string,
  mode: number,
  links: number,
  content: Uint8Array,
  device = [0, 0],
): Buffer {
  const name = Buffer.from(`${path}\0`);
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, device[0] ?? 0, device[1] ?? 0, name.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join("")}`;
  const out = Buffer.alloc(padded(header.length + name.length) + padded(content.length));
  out.write(header, "latin1");
  name.copy(out, header.length);
  out.set(content, padded(header.length + name.length));
  return out;
}

/**
 * A newc archive as the kernel reads an initramfs. Entries are sorted by path, so a directory comes before what it holds; all
 * belong to root and carry time 0, so equal entries give equal bytes.
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  const records = sorted.map((entry, index) => {
    if (entry.path === "" || entry.path.startsWith("/")) throw new Error(`path "${entry.path}" is not relative`);
    if (sorted[index + 1]?.path === entry.path) throw new Error(`path "${entry.path}" is there twice`);
    const mode = typeBits[entry.kind] | (entry.kind === "symlink" ? 0o777 : entry.mode);
    const links = entry.kind === "directory" ? 2 : 1;
    const device = entry.kind === "device" ? [entry.major, entry.minor] : [0, 0];
    return record(index + 1, entry.path, mode, links, contentOf(entry), device);
  });
  return Buffer.concat([...records, record(0, "TRAILER!!!", 0, 1, new Uint8Array(0))]);
}
