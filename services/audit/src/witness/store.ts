/** A place for checkpoints. A witness is one that whoever owns the host cannot rewrite; the log's own newest checkpoint has one too. */
export interface CheckpointStore {
  readonly kind: "file" | "directory" | "url";
  /** For the log and for alarms. */
  readonly name: string;
  /**
   * Keeps signed notes, oldest first. They are kept on return. A failure may have kept any of them; the caller comes again with the same or
   * later ones, so a store may get a note twice.
   */
  put(notes: readonly string[], signal: AbortSignal): Promise<void>;
}

/** Notes in one text: each is preceded by an end of line and an empty line, so that what a crash left of one does not run into the next. */
export function joinNotes(notes: readonly string[]): string {
  return notes.map((note) => `\n\n${note}`).join("");
}
