import { test } from "node:test";
import { refuseChangedSets } from "./mutations.fixture.ts";

test("of 2,600 mutated sets none is accepted, and each is refused in words", (t) => refuseChangedSets(t, 2_600));
