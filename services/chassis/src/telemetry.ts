/**
 * Preload: `node --import @lobsterd/chassis/telemetry.ts main.ts`. Starts tracing and metrics when `OTEL_EXPORTER_OTLP_ENDPOINT` is set and
 * costs nothing when it is not. `OTEL_SERVICE_NAME` names the process. All of it goes out as OTLP over HTTP (JSON): spans in short
 * batches, so that a trace can be read soon after it ended (whether a span is recorded follows its parent), metrics every 15 s or
 * `OTEL_METRIC_EXPORT_INTERVAL` (ms). Nothing waits for a collector: what it does not take in time is dropped, and metrics are totals, so the
 * next export says as much. Logs do not go this way: they are on disk (docs/adr/0039).
 */
import { hostname } from "node:os";
import { setForeignProcessor } from "./foreign-spans.ts";
import { onFlush } from "./tracing.ts";

const batchDelayMs = 500;
const exportLimitMs = 2000;
const maxQueuedSpans = 4096;
const metricIntervalMs = Number(process.env.OTEL_METRIC_EXPORT_INTERVAL ?? 15_000);

if (process.env.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined) {
  await startTelemetry(process.env.OTEL_SERVICE_NAME ?? "lobsterd");
}

async function startTelemetry(service: string): Promise<void> {
  const [{ NodeSDK }, { W3CTraceContextPropagator }, { resourceFromAttributes }, sdk, traces, sdkMetrics, metrics] =
    await Promise.all([
      import("@opentelemetry/sdk-node"),
      import("@opentelemetry/core"),
      import("@opentelemetry/resources"),
      import("@opentelemetry/sdk-trace"),
      import("@opentelemetry/exporter-trace-otlp-http"),
      import("@opentelemetry/sdk-metrics"),
      import("@opentelemetry/exporter-metrics-otlp-http"),
    ]);
  const processor = new sdk.BatchSpanProcessor({
    exporter: new traces.OTLPTraceExporter({ timeoutMillis: exportLimitMs }),
    scheduledDelayMillis: batchDelayMs,
    exportTimeoutMillis: exportLimitMs,
    maxQueueSize: maxQueuedSpans,
  });
  const reader = new sdkMetrics.PeriodicExportingMetricReader({
    exporter: new metrics.OTLPMetricExporter({ timeoutMillis: exportLimitMs }),
    exportIntervalMillis: metricIntervalMs,
    exportTimeoutMillis: Math.min(exportLimitMs, metricIntervalMs),
  });
  const resourceOf = (name: string) =>
    resourceFromAttributes({
      "service.name": name,
      "service.namespace": "lobsterd",
      "service.instance.id": hostname(),
    });
  new NodeSDK({
    resource: resourceOf(service),
    autoDetectResources: false,
    sampler: new sdk.ParentBasedSampler({ root: new sdk.AlwaysOnSampler() }),
    spanLimits: { attributeValueLengthLimit: 256, attributeCountLimit: 32, eventCountLimit: 8, linkCountLimit: 8 },
    spanProcessors: [processor],
    metricReaders: [reader],
    // Without these the SDK would look for exporters of its own.
    logRecordProcessors: [],
    instrumentations: [],
    textMapPropagator: new W3CTraceContextPropagator(),
  }).start();
  setForeignProcessor({ onEnd: (span) => processor.onEnd(span), resourceOf });
  onFlush(() => processor.forceFlush());
  onFlush(() => reader.forceFlush());
  const { showProcess } = await import("./process-metrics.ts");
  showProcess();
}
