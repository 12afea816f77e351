/** Reads PromQL with Prometheus's own grammar: which metrics a query names, which of their labels, and which values of these. */
import type { SyntaxNode } from "@lezer/common";
import { parser } from "@prometheus-io/lezer-promql";

/** Grafana's variables that stand where PromQL has a duration. */
const grafanaWindow = /\$__(rate_interval|interval|range)\b/g;

export interface Matcher {
  readonly label: string;
  /** `=`, `!=`, `=~` or `!~`. */
  readonly operator: string;
  readonly value: string;
}

export interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
  /** Labels that the operators around it sum or match by. */
  readonly groupings: readonly string[];
}

/** Throws with the place at which the query is not PromQL. */
export function selectorsOf(query: string): readonly Selector[] {
  const text = query.replaceAll(grafanaWindow, "5m");
  const selectors: Selector[] = [];
  parser.parse(text).iterate({
    enter: ({ node, type, from }) => {
      if (type.isError) throw new SyntaxError(`not PromQL at ${from}: ${text.slice(from, from + 20)} in ${text}`);
      if (type.name !== "VectorSelector") return;
      const metric = textOf(text, node.getChild("Identifier"));
      selectors.push({ metric, matchers: matchersOf(text, node), groupings: groupingsAround(text, node) });
    },
  });
  return selectors;
}

function matchersOf(text: string, selector: SyntaxNode): Matcher[] {
  return below(selector, "UnquotedLabelMatcher").map((matcher) => ({
    label: textOf(text, matcher.getChild("LabelName")),
    operator: textOf(text, matcher.getChild("MatchOp")),
    value: textOf(text, matcher.getChild("StringLiteral")).slice(1, -1),
  }));
}

function groupingsAround(text: string, node: SyntaxNode): string[] {
  const names: string[] = [];
  for (let around = node.parent; around !== null; around = around.parent) {
    for (let child = around.firstChild; child !== null; child = child.nextSibling) {
      if (child.name !== "AggregateModifier" && child.name !== "MatchingModifierClause") continue;
      names.push(...below(child, "LabelName").map((label) => textOf(text, label)));
    }
  }
  return names;
}

function below(node: SyntaxNode, kind: string): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  node.cursor().iterate((inner) => {
    if (inner.name === kind) found.push(inner.node);
  });
  return found;
}

function textOf(text: string, node: SyntaxNode | null): string {
  return node === null ? "" : text.slice(node.from, node.to);
}
