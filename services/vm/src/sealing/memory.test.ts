import { test } from "node:test";
import { refuseGrowth } from "./memory.fixture.ts";

test("512 MiB are sealed and opened in 32 MiB of memory", (t) => refuseGrowth(t, { plainMib: 512, filledEvery: 1 }));
