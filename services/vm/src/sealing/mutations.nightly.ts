import { test } from "node:test";
import { refuseChangedSets } from "./mutations.fixture.ts";

test("of 20,000 mutated sets none is accepted, and each is refused in words", (t) => refuseChangedSets(t, 20_000));
