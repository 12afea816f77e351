import { type FileStatus, found, type HostFiles, missing, type Reading, unfit } from "../host-files.ts";

/** One file of a host in memory: its text, or what else is to be read of it. */
export type TreeEntry =
  | string
  | ({ readonly text?: string; readonly denied?: boolean; readonly fileSystemType?: number } & Partial<FileStatus>)
  | { readonly link: string };

/** Absolute path to entry; `undefined` takes an entry away. Directories are what the paths imply, unless they are entries themselves. */
export type Tree = Readonly<Record<string, TreeEntry | undefined>>;

export interface HostTree extends HostFiles {
  /** Every path that was asked for. */
  readonly asked: ReadonlySet<string>;
}

const file: FileStatus = { kind: "file", mode: 0o644, uid: 0, gid: 0, device: 1, changeTimeMs: 0 };
const directory: FileStatus = { ...file, kind: "directory", mode: 0o755 };

/** A host in memory that answers as `openHostFiles` does. */
export function createHostTree(tree: Tree): HostTree {
  const entries = new Map(Object.entries(tree).filter((pair): pair is [string, TreeEntry] => pair[1] !== undefined));
  const asked = new Set<string>();
  const namesOf = (path: string): readonly string[] => {
    const prefix = path === "/" ? "/" : `${path}/`;
    const names = [...entries.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length).split("/", 1)[0] ?? "");
    return [...new Set(names)].sort();
  };
  async function at<T>(path: string, read: (entry: TreeEntry | undefined) => Reading<T>): Promise<Reading<T>> {
    asked.add(path);
    const entry = entries.get(path);
    if (entry === undefined && namesOf(path).length === 0) return missing(path);
    if (typeof entry === "object" && "denied" in entry && entry.denied === true) {
      return { ok: false, cause: "denied", why: `${path} is not readable by this user` };
    }
    return read(entry);
  }
  return {
    asked,
    text: (path) =>
      at(path, (entry) => {
        if (typeof entry === "string") return found(entry.trim());
        const text = entry !== undefined && "text" in entry ? entry.text : undefined;
        return text === undefined ? unfit(path, "is no regular file") : found(text.trim());
      }),
    names: (path) => at(path, () => found(namesOf(path))),
    status: (path) =>
      at<FileStatus>(path, (entry) => {
        if (typeof entry === "string") return found(file);
        if (entry === undefined) return found(directory);
        return found("link" in entry ? { ...file, kind: "link", mode: 0o777 } : { ...file, ...entry });
      }),
    link: (path) =>
      at(path, (entry) =>
        typeof entry === "object" && "link" in entry ? found(entry.link) : unfit(path, "cannot be read (EINVAL)"),
      ),
    fileSystemType: (path) =>
      at(path, (entry) =>
        found((typeof entry === "object" && "fileSystemType" in entry ? entry.fileSystemType : undefined) ?? 0xef53),
      ),
  };
}
