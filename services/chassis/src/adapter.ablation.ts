/**
 * Takes one control of the adapter away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/chassis/src/adapter.ablation.ts`.
 */
import { type Ablation, ablate } from "./testing-control-removal.ts";

const removal = (replace: string, find = "resetOnceAnswered(request.stream);") => ({
  file: "services/chassis/src/adapter.ts",
  find,
  replace,
});
const test = (name: string) => ({ file: "services/chassis/src/adapter.host.test.ts", name });

export const ablations: readonly Ablation[] = [
  {
    control: "a reset comes after the status of the call",
    removals: [removal("request.stream.close(http2.constants.NGHTTP2_NO_ERROR);")],
    noticedBy: test("a stream that ends before its caller does has its status"),
  },
  {
    control: "a caller is stopped after its answer",
    removals: [removal(";")],
    noticedBy: test("a caller that does not end is stopped after its answer"),
  },
  {
    control: "a stream whose body was not read to the end is let go",
    removals: [removal("", "    stream.destroy();\n")],
    noticedBy: test("getTenant: callers whose message was refused leave no connection behind"),
  },
];

if (import.meta.main) ablate(ablations);
