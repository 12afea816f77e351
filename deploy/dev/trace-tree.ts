import type { TraceSpan } from "../client/trace.ts";

const columns = 100;
const maxLines = 500;
// Deeper spans would leave no room for a name.
const maxDrawnDepth = 14;

/** A span where it stands in the tree. `orphan`: its parent is not among the spans. */
type Node = { readonly span: TraceSpan; readonly children: Node[]; orphan: boolean };

/**
 * One trace as text for a terminal of 100 columns, with a newline at its end: a summary, then a line per span with its offset
 * from the start of the trace and its duration in ms, its name, its service in brackets. Siblings stand in order of their start.
 * A span whose parent was not received (or is its own descendant) stands at the root, marked.
 */
export function renderTraceTree(spans: readonly TraceSpan[]): string {
  const roots = treeOf(spans);
  const [first] = roots;
  if (first === undefined) return "no spans\n";
  const startMs = Math.min(...spans.map((span) => span.startMs));
  const endMs = Math.max(...spans.map((span) => span.startMs + span.durationMs));
  const services = new Set(spans.map((span) => span.service));
  const lines = [
    `trace ${first.span.traceId}: ${spans.length} spans, ${services.size} services, ${(endMs - startMs).toFixed(1)} ms`,
    "   at ms  took ms",
  ];
  for (const root of roots) draw(root, { startMs, guides: "", branch: "", depth: 0 }, lines);
  const shown = lines.slice(0, maxLines);
  if (lines.length > maxLines) shown.push(`… ${lines.length - maxLines} more`);
  return `${shown.join("\n")}\n`;
}

function treeOf(spans: readonly TraceSpan[]): Node[] {
  const nodes = new Map<string, Node>();
  for (const span of spans) nodes.set(span.spanId, { span, children: [], orphan: false });
  const roots: Node[] = [];
  for (const node of nodes.values()) {
    const { parentSpanId } = node.span;
    const parent = nodes.get(parentSpanId);
    if (parent !== undefined && !descendsFrom(parent, node, nodes)) parent.children.push(node);
    else roots.push(node);
    node.orphan = parentSpanId !== "" && roots.at(-1) === node;
  }
  for (const node of nodes.values()) node.children.sort(byStart);
  // The true root comes first: an orphan may have started earlier by another machine's clock.
  return roots.sort((one, other) => Number(one.orphan) - Number(other.orphan) || byStart(one, other));
}

/** True if following parents from `node` comes to `ancestor`, which would close a circle. */
function descendsFrom(node: Node, ancestor: Node, nodes: ReadonlyMap<string, Node>): boolean {
  const seen = new Set<Node>();
  for (let at: Node | undefined = node; at !== undefined && !seen.has(at); at = nodes.get(at.span.parentSpanId)) {
    if (at === ancestor) return true;
    seen.add(at);
  }
  return false;
}

function byStart(one: Node, other: Node): number {
  return one.span.startMs - other.span.startMs || (one.span.spanId < other.span.spanId ? -1 : 1);
}

type Place = { readonly startMs: number; readonly guides: string; readonly branch: string; readonly depth: number };

function draw(node: Node, place: Place, lines: string[]): void {
  const { span } = node;
  const times = `${(span.startMs - place.startMs).toFixed(1).padStart(8)} ${span.durationMs.toFixed(1).padStart(8)}  `;
  const marks = `${span.failed ? " FAILED" : ""}${node.orphan ? " (parent missing)" : ""}`;
  const before = `${times}${place.guides}${place.branch}`;
  const after = ` [${clean(span.service, 16)}]${marks}`;
  lines.push(`${before}${clean(span.name, Math.max(8, columns - before.length - after.length))}${after}`);
  const hidden = place.depth >= maxDrawnDepth ? node.children.length : 0;
  if (hidden > 0) lines.push(`${" ".repeat(times.length)}${place.guides}   … ${hidden} deeper`);
  if (hidden > 0 || lines.length > maxLines * 2) return;
  const guides = place.guides + (place.branch === "" ? "" : place.branch.startsWith("└") ? "   " : "│  ");
  for (const [at, child] of node.children.entries()) {
    const branch = at === node.children.length - 1 ? "└─ " : "├─ ";
    draw(child, { startMs: place.startMs, guides, branch, depth: place.depth + 1 }, lines);
  }
}

/** Span names come from guests too: what a terminal would obey is replaced, and what does not fit is cut. */
function clean(text: string, width: number): string {
  const printable = text.replaceAll(/[^\x20-\x7e]/g, "?");
  return printable.length <= width ? printable : `${printable.slice(0, width - 1)}…`;
}
