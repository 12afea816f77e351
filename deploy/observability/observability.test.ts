/** Dashboards, alert rules and provisioning name only what there is. What is read is the committed files. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parse } from "yaml";
import { z } from "zod";
import { hostProcesses } from "../systemd/sandbox.ts";
import { unitOf } from "../systemd/units.ts";
import { alertCases } from "./alert-cases.ts";
import { alerts, runbookOf } from "./alerts.ts";
import { catalogues, jobs, kindOf, prometheusMetrics } from "./catalogue.ts";
import { generatedFiles } from "./main.ts";
import { prometheusLabel, prometheusName } from "./prometheus-names.ts";
import { type Selector, selectorsOf } from "./promql.ts";
import { spanNames } from "./span-names.ts";

const read = (path: string) => readFileSync(join(import.meta.dirname, path), "utf8");

const targetSchema = z.object({
  datasource: z.object({ type: z.string(), uid: z.string() }),
  expr: z.string().optional(),
  query: z.string().optional(),
});
const dashboardSchema = z.object({
  uid: z.string(),
  title: z.string(),
  panels: z.array(z.object({ title: z.string(), targets: z.array(targetSchema).default([]) })),
});
const rulesSchema = z.object({
  groups: z.array(z.object({ rules: z.array(z.object({ alert: z.string(), expr: z.string() })) })),
});

const dashboards = readdirSync(join(import.meta.dirname, "grafana/dashboards")).map((file) => ({
  file,
  ...dashboardSchema.parse(JSON.parse(read(`grafana/dashboards/${file}`))),
}));
const targets = dashboards.flatMap(({ title, panels }) =>
  panels.flatMap((panel) => panel.targets.map((target) => ({ where: `${title}, ${panel.title}`, ...target }))),
);
const rules = rulesSchema.parse(parse(read("prometheus/alerts.yaml"))).groups.flatMap((group) => group.rules);
const queries = [
  ...targets
    .filter(({ datasource }) => datasource.type === "prometheus")
    .map(({ where, expr = "" }) => ({ where, query: expr })),
  ...rules.map(({ alert, expr }) => ({ where: alert, query: expr })),
];
const metrics = prometheusMetrics();

/** What a selector names that no service exports. */
function faultsOf({ metric, matchers, groupings }: Selector): string[] {
  const known = metrics.get(metric);
  if (known === undefined) return [`no metric ${metric}`];
  const labels = [...matchers.map(({ label }) => label), ...groupings];
  const unknown = labels.filter((label) => !known.labels.has(label)).map((label) => `${metric} has no label ${label}`);
  const impossible = matchers.flatMap(({ label, operator, value }) => {
    const values = valuesOf(known.spec.attributes, label);
    const isPossible =
      values === undefined ||
      values.some((one) => (operator.endsWith("~") ? new RegExp(`^(?:${value})$`).test(one) : one === value));
    return isPossible ? [] : [`${metric} never has ${label} ${value}`];
  });
  return [...unknown, ...impossible];
}

/** The values of a label, if they are a list. */
function valuesOf(attributes: Readonly<Record<string, unknown>> = {}, label: string): readonly string[] | undefined {
  if (label === "job") return jobs;
  const values = Object.entries(attributes).find(([name]) => prometheusLabel(name) === label)?.[1];
  return Array.isArray(values) ? [...values, "other"] : undefined;
}

describe("metrics", () => {
  const specs = Object.values(catalogues).flat();

  it("are declared once each, under a name and in a unit that Prometheus can be given", () => {
    const names = specs.map((spec) => prometheusName(spec.name, spec.unit, kindOf(spec)));
    assert.deepEqual(names.length, new Set(names).size);
    for (const { name, description } of specs) {
      assert.match(name, /^(lobsterd|rpc|process|nodejs)(\.[a-z][a-z_]*)+$/);
      assert.doesNotMatch(name, /seconds|bytes|total|count$/, `${name}: Prometheus's suffix comes by itself`);
      assert.ok(description.length > 10, name);
    }
  });

  it("have no attribute that names a tenant, a VM, a place or a person, and know every value or what bounds them", () => {
    const allowed = [
      "rpc.method",
      "rpc.response.status_code",
      "error.type",
      "reason",
      "state",
      "operation",
      "outcome",
      "step",
    ];
    const more = ["action", "resource", "what", "verdict", "required", "kind", "store"];
    for (const { name, attributes = {} } of specs) {
      for (const [attribute, values] of Object.entries(attributes)) {
        assert.ok(
          [...allowed, ...more].includes(attribute),
          `${name}: ${attribute} is new; can its value ever be a tenant's?`,
        );
        if (!("boundedBy" in values)) assert.ok(values.length > 0 && values.length <= 64, `${name}: ${attribute}`);
      }
    }
  });

  it("are each shown or watched", () => {
    const used = new Set(
      queries.flatMap(({ query }) => selectorsOf(query)).map(({ metric }) => metrics.get(metric)?.spec),
    );
    assert.deepEqual(
      specs.filter((spec) => !used.has(spec)).map(({ name }) => name),
      // Counted for those who ask why the alarm of a lagging store rang more than once.
      ["lobsterd.audit.checkpoints_late"],
    );
  });
});

describe("dashboards and alert rules", () => {
  it("are what is generated: run make observability", () => {
    const files = [
      ...dashboards.map(({ file }) => `grafana/dashboards/${file}`),
      "prometheus/alerts.yaml",
      "metrics.md",
    ];
    assert.deepEqual(files.sort(), [...generatedFiles().keys()].sort());
    for (const [path, text] of generatedFiles()) assert.ok(read(path) === text, `${path} is of other declarations`);
  });

  it("name only metrics, labels and values that a service exports", () => {
    assert.ok(queries.length > 80);
    const faults = queries.flatMap(({ where, query }) =>
      selectorsOf(query)
        .flatMap(faultsOf)
        .map((fault) => `${where}: ${fault}`),
    );
    assert.deepEqual(faults, []);
    for (const { where, query } of queries) assert.ok(selectorsOf(query).length > 0, `${where}: no metric in ${query}`);
  });

  it("would be found out if they did not", () => {
    const faults = (query: string) => selectorsOf(query).flatMap(faultsOf);
    assert.deepEqual(faults("lobsterd_vm_tenant_count"), ["no metric lobsterd_vm_tenant_count"]);
    assert.deepEqual(faults('sum by (tenant) (lobsterd_vm_tenants{state="running"})'), [
      "lobsterd_vm_tenants has no label tenant",
    ]);
    assert.deepEqual(faults('lobsterd_vm_capacity{what="free"}'), ["lobsterd_vm_capacity never has what free"]);
    assert.deepEqual(faults("lobsterd_vm_capacity / on (slot) lobsterd_vm_boots_waiting").length, 2);
    assert.throws(() => selectorsOf("sum(rate(lobsterd_vm_tenants[5m])"), /not PromQL/);
  });

  it("ask for spans that the code makes", async () => {
    const names = await spanNames();
    const traces = targets.filter(({ datasource }) => datasource.type === "tempo");
    const asked = traces.flatMap(({ query = "" }) =>
      [...query.matchAll(/(?<![.\w])name\s*=\s*"([^"]+)"/g)].map(([, name = ""]) => name),
    );
    assert.ok(asked.length >= 2);
    for (const name of asked) assert.ok(names.has(name), `no span ${name}`);
    for (const { query = "" } of traces) {
      const services = [...query.matchAll(/resource\.service\.name\s*=\s*"([^"]+)"/g)].map(([, name = ""]) => name);
      for (const service of services) assert.ok([...jobs, "lobsterd/agent"].includes(`lobsterd/${service}`), service);
    }
  });
});

describe("alerts", () => {
  const sections = new Map(
    (readFileSync(join(import.meta.dirname, "../../docs/runbooks.md"), "utf8").split(/^## Alerts$/m)[1] ?? "")
      .split(/^### /m)
      .slice(1)
      .map((section) => [section.slice(0, section.indexOf("\n")).trim(), section]),
  );

  it("each have series on which they fire, and series on which they are silent", () => {
    const cases = (fires: boolean) =>
      new Set(alertCases.filter((one) => (one.fires !== undefined) === fires).map(({ alert }) => alert));
    for (const { name } of alerts) assert.ok(cases(true).has(name) && cases(false).has(name), name);
  });

  it("each have a section in the runbooks with meaning, first look and action, and no section is of none", () => {
    assert.deepEqual([...sections.keys()].sort(), [...new Set(alerts.map(({ name }) => name))].sort());
    for (const [name, section] of sections) {
      for (const part of ["Meaning", "First look", "Action"])
        assert.match(section, new RegExp(`\\*\\*${part}\\.\\*\\*`), `${name}: ${part}`);
    }
    // GitHub's anchor of a heading of one word is the word in lower case.
    for (const alert of alerts) assert.equal(runbookOf(alert), `docs/runbooks.md#${alert.name.toLowerCase()}`);
  });
});

describe("provisioning", () => {
  const collector = z
    .object({
      ...Object.fromEntries(
        ["receivers", "processors", "exporters", "extensions"].map((kind) => [
          kind,
          z.record(z.string(), z.unknown()).default({}),
        ]),
      ),
      service: z.object({
        extensions: z.array(z.string()).default([]),
        pipelines: z.record(
          z.string(),
          z.object({
            receivers: z.array(z.string()),
            processors: z.array(z.string()).default([]),
            exporters: z.array(z.string()),
          }),
        ),
      }),
    })
    .loose();

  for (const file of ["collector.yaml", "journald.yaml"]) {
    it(`${file}: every pipeline is of components that are configured, and none is configured for nothing`, () => {
      // The second is laid over the first, as the collector does with two --config.
      const base = collector.parse(parse(read("collector/collector.yaml")));
      const over = file === "collector.yaml" ? base : collector.parse(parse(read(`collector/${file}`)));
      for (const kind of ["receivers", "processors", "exporters"] as const) {
        const configured = { ...(base[kind] as object), ...(over[kind] as object) };
        const pipelines = { ...base.service.pipelines, ...over.service.pipelines };
        const used = Object.values(pipelines).flatMap((pipeline) => pipeline[kind]);
        for (const name of used) assert.ok(name in configured, `${kind} ${name}`);
        for (const name of Object.keys(over[kind] as object))
          assert.ok(used.includes(name), `${kind} ${name} is in no pipeline`);
      }
      for (const name of over.service.extensions)
        assert.ok(name in { ...(base["extensions"] as object), ...(over["extensions"] as object) });
    });
  }

  it("journald.yaml reads the units that a host has", () => {
    const { receivers } = parse(read("collector/journald.yaml"));
    assert.deepEqual(receivers.journald.units.toSorted(), hostProcesses.map(unitOf).toSorted());
  });

  it("every data source of a panel is provisioned", () => {
    const { datasources } = z
      .object({ datasources: z.array(z.object({ uid: z.string(), type: z.string() })) })
      .parse(parse(read("grafana/provisioning/datasources/lobsterd.yaml")));
    for (const { datasource, where } of targets)
      assert.ok(
        datasources.some(({ uid, type }) => uid === datasource.uid && type === datasource.type),
        where,
      );
  });

  it("the queries from a trace to metrics name only what there is", () => {
    const { datasources } = z
      .object({
        datasources: z.array(
          z.object({
            uid: z.string(),
            jsonData: z
              .object({ tracesToMetrics: z.object({ queries: z.array(z.object({ query: z.string() })) }).optional() })
              .loose(),
          }),
        ),
      })
      .parse(parse(read("grafana/provisioning/datasources/lobsterd.yaml")));
    const asked = datasources.flatMap(({ jsonData }) => jsonData.tracesToMetrics?.queries ?? []);
    assert.ok(asked.length > 0);
    for (const { query } of asked)
      assert.deepEqual(selectorsOf(query.replaceAll("$$__tags", 'job="lobsterd/vm"')).flatMap(faultsOf), []);
  });

  it("Prometheus scrapes where the collector listens, and reads the rules", () => {
    const prometheus = z
      .object({
        rule_files: z.array(z.string()),
        scrape_configs: z.array(
          z.object({ honor_labels: z.boolean(), static_configs: z.array(z.object({ targets: z.array(z.string()) })) }),
        ),
      })
      .loose()
      .parse(parse(read("prometheus/prometheus.yaml")));
    const exporters = parse(read("collector/collector.yaml")).exporters;
    assert.deepEqual(prometheus.rule_files, ["alerts.yaml"]);
    assert.deepEqual(
      prometheus.scrape_configs.flatMap(({ static_configs: one }) => one.flatMap((config) => config.targets)),
      [exporters.prometheus.endpoint],
    );
    assert.ok(
      prometheus.scrape_configs.every(({ honor_labels: honors }) => honors),
      "job and instance come from the service",
    );
  });
});
