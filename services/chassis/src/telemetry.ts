/**
 * Preload: `node --import @lobsterd/chassis/telemetry.ts main.ts`. Starts tracing when `OTEL_EXPORTER_OTLP_ENDPOINT` is set and costs
 * nothing when it is not. `OTEL_SERVICE_NAME` names the process. Spans go out as OTLP over HTTP (JSON) in short batches, so that a
 * trace can be read soon after it ended; whether a span is recorded follows its parent.
 */
import { setForeignProcessor } from "./foreign-spans.ts";
import { onFlush } from "./tracing.ts";

const batchDelayMs = 500;
const exportLimitMs = 2000;
const maxQueuedSpans = 4096;

if (process.env.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined) {
  await startTelemetry(process.env.OTEL_SERVICE_NAME ?? "lobsterd");
}

async function startTelemetry(service: string): Promise<void> {
  const [{ NodeSDK }, { W3CTraceContextPropagator }, { resourceFromAttributes }, sdk, otlp] = await Promise.all([
    import("@opentelemetry/sdk-node"),
    import("@opentelemetry/core"),
    import("@opentelemetry/resources"),
    import("@opentelemetry/sdk-trace"),
    import("@opentelemetry/exporter-trace-otlp-http"),
  ]);
  const processor = new sdk.BatchSpanProcessor({
    exporter: new otlp.OTLPTraceExporter({ timeoutMillis: exportLimitMs }),
    scheduledDelayMillis: batchDelayMs,
    exportTimeoutMillis: exportLimitMs,
    maxQueueSize: maxQueuedSpans,
  });
  const resourceOf = (name: string) => resourceFromAttributes({ "service.name": name });
  new NodeSDK({
    resource: resourceOf(service),
    autoDetectResources: false,
    sampler: new sdk.ParentBasedSampler({ root: new sdk.AlwaysOnSampler() }),
    spanLimits: { attributeValueLengthLimit: 256, attributeCountLimit: 32, eventCountLimit: 8, linkCountLimit: 8 },
    spanProcessors: [processor],
    // Only traces go out so far; without these the SDK would look for exporters of its own.
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations: [],
    textMapPropagator: new W3CTraceContextPropagator(),
  }).start();
  setForeignProcessor({ onEnd: (span) => processor.onEnd(span), resourceOf });
  onFlush(() => processor.forceFlush());
}
