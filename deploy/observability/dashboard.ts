/** A small part of Grafana's dashboard JSON, typed: rows of panels side by side. */

const sources = {
  prometheus: { type: "prometheus", uid: "prometheus" },
  tempo: { type: "tempo", uid: "tempo" },
  loki: { type: "loki", uid: "loki" },
} as const;

const gridWidth = 24;

/** How values are shown: Grafana's unit ids. */
export type Unit = "short" | "s" | "bytes" | "ops" | "percentunit" | "pps";

export interface Target {
  readonly query: string;
  /** Label names in double braces are filled in. */
  readonly legend?: string;
}

export interface Panel {
  readonly title: string;
  readonly description: string;
  readonly type: "timeseries" | "stat" | "table" | "traces" | "logs";
  readonly source: keyof typeof sources;
  readonly targets: readonly Target[];
  readonly unit?: Unit;
  /** Grid rows; 8 by default. */
  readonly height?: number;
  /** A value at or above `red` is red, one at or above `amber` amber. */
  readonly thresholds?: { readonly amber?: number; readonly red: number };
  /** The other way around: below 1 is red. */
  readonly isBadBelowOne?: boolean;
  /** Opens this dashboard with what was clicked. */
  readonly link?: { readonly column: string; readonly url: string };
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly variables?: readonly { readonly name: string; readonly label: string }[];
  readonly rows: readonly { readonly title: string; readonly panels: readonly Panel[] }[];
}

/** Lines over time. */
export function lines(title: string, description: string, unit: Unit, ...targets: readonly Target[]): Panel {
  return { type: "timeseries", source: "prometheus", title, description, unit, targets };
}

/** The value now. */
export function stat(title: string, description: string, unit: Unit, query: string, more: Partial<Panel> = {}): Panel {
  return { type: "stat", source: "prometheus", title, description, unit, targets: [{ query }], height: 4, ...more };
}

/** The JSON that Grafana provisions. Pure: the same dashboard is the same text. */
export function dashboardJson({ uid, title, description, variables = [], rows }: Dashboard): string {
  let id = 0;
  let y = 0;
  const panels: object[] = [];
  for (const row of rows) {
    panels.push({
      id: ++id,
      type: "row",
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y, w: gridWidth, h: 1 },
      panels: [],
    });
    y += 1;
    const width = Math.floor(gridWidth / row.panels.length);
    for (const [at, panel] of row.panels.entries()) {
      panels.push(panelJson(panel, ++id, { x: at * width, y, w: width, h: panel.height ?? 8 }));
    }
    y += Math.max(...row.panels.map(({ height = 8 }) => height));
  }
  const templating = {
    list: variables.map(({ name, label }) => ({
      name,
      label,
      type: "textbox",
      query: "",
      current: { text: "", value: "" },
    })),
  };
  const fixed = { schemaVersion: 39, version: 1, editable: false, refresh: "30s", time: { from: "now-1h", to: "now" } };
  const text = JSON.stringify(
    { uid, title, description, tags: ["lobsterd"], ...fixed, templating, panels },
    undefined,
    2,
  );
  return `${text}\n`;
}

function panelJson(panel: Panel, id: number, gridPos: object): object {
  const { title, description, type, source, targets, unit = "short", thresholds, isBadBelowOne = false, link } = panel;
  const datasource = sources[source];
  const steps = [
    { color: isBadBelowOne ? "red" : "green", value: null },
    ...(isBadBelowOne ? [{ color: "green", value: 1 }] : []),
    ...(thresholds?.amber === undefined ? [] : [{ color: "orange", value: thresholds.amber }]),
    ...(thresholds === undefined ? [] : [{ color: "red", value: thresholds.red }]),
  ];
  const links = (url: string) => [{ id: "links", value: [{ title: "show", url }] }];
  const overrides =
    link === undefined ? [] : [{ matcher: { id: "byName", options: link.column }, properties: links(link.url) }];
  return {
    ...{ id, type, title, description, gridPos, datasource },
    targets: targets.map((target, at) => targetJson(source, target, String.fromCharCode(65 + at))),
    ...(source === "prometheus"
      ? { fieldConfig: { defaults: { unit, min: 0, thresholds: { mode: "absolute", steps } }, overrides } }
      : { fieldConfig: { defaults: {}, overrides } }),
    ...(type === "logs" ? { options: { showTime: true, wrapLogMessage: true, sortOrder: "Ascending" } } : {}),
  };
}

function targetJson(source: Panel["source"], { query, legend }: Target, refId: string): object {
  const common = { refId, datasource: sources[source] };
  switch (source) {
    case "prometheus":
      return { ...common, expr: query, ...(legend === undefined ? {} : { legendFormat: legend }) };
    case "tempo":
      return { ...common, queryType: "traceql", query, tableType: "traces", limit: 20 };
    case "loki":
      return { ...common, expr: query, queryType: "range" };
  }
}
