import { test } from "node:test";
import { refuseGrowth } from "./memory.fixture.ts";

test("3 GiB, nine tenths of them empty, are sealed and opened in 32 MiB of memory", (t) =>
  refuseGrowth(t, { plainMib: 3 * 1024, filledEvery: 10 }));

test("3 GiB are sealed and opened in 32 MiB of memory", (t) => refuseGrowth(t, { plainMib: 3 * 1024, filledEvery: 1 }));
