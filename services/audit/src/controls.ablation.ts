/**
 * Takes one control of the audit log away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/audit/src/controls.ablation.ts`. A row whose test still passes is a control that nothing tests.
 */
import { type Ablation, ablate, type ControlTest, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const removal = (file: string, find: string, replace: string): Removal => ({
  file: `services/${file}`,
  find,
  replace,
});
const auditTest = (file: string, name: string): ControlTest => ({ file: `services/audit/src/${file}`, name });
const chassisTest = (file: string, name: string): ControlTest => ({ file: `services/chassis/src/${file}`, name });

export const ablations: readonly Ablation[] = [
  {
    control: "fsync before the receipt",
    removals: [removal("audit/src/log/audit-log.ts", ".then(() => file.sync())", "")],
    noticedBy: auditTest("log/audit-log.test.ts", "gives no receipt before the fsync"),
  },
  {
    control: "nothing after a failed fsync",
    removals: [removal("audit/src/log/audit-log.ts", "    this.#failure = failure;\n", "")],
    noticedBy: auditTest(
      "log/audit-log.test.ts",
      "gives no receipt, accepts nothing more and reports once when fsync fails",
    ),
  },
  {
    control: "prefix of a leaf",
    removals: [removal("audit/src/log/canonical.ts", "const leafPrefix = 0x00;", "const leafPrefix = 0x01;")],
    noticedBy: auditTest(
      "log/canonical.test.ts",
      'has the bytes, the hash and the meaning of the vector "refused outcome"',
    ),
  },
  {
    control: "prefix of a node",
    removals: [removal("audit/src/tree/merkle.ts", "scratch[0] = 0x01;", "scratch[0] = 0x00;")],
    noticedBy: auditTest("tree/proofs.test.ts", "has the roots of the vectors at every size"),
  },
  {
    control: "signature check",
    removals: [
      removal(
        "audit/src/tree/signed-note.ts",
        "if (verify(null, Buffer.from(text), verifier.publicKey, signature.subarray(keyIdBytes))) return text;",
        "if (verifier.publicKey) return text;",
      ),
    ],
    noticedBy: auditTest("tree/signed-note.test.ts", "is refused with any one bit changed"),
  },
  {
    control: "checkpoints that left the host",
    removals: [
      removal(
        "audit/src/verify/verify-log.ts",
        "if (checkpoint.root.equals(tree.rootAt(checkpoint.size))) {",
        "if (true) {",
      ),
    ],
    noticedBy: auditTest(
      "verify/verify-log.test.ts",
      "finds a whole history rewritten and signed with the real key, against the checkpoints that had left the host",
    ),
  },
  {
    control: "number of records in a checkpoint",
    removals: [removal("audit/src/verify/verify-log.ts", "longest = Math.max(longest, checkpoint.size);", "")],
    noticedBy: auditTest("verify/verify-log.test.ts", "finds: the tail cut between two records"),
  },
  {
    control: "no second history is signed",
    removals: [
      removal(
        "audit/src/log/checkpointer.ts",
        "if (options.last !== undefined) requireSameHistory(tree(), options.last);",
        "",
      ),
    ],
    noticedBy: auditTest(
      "log/checkpointer.test.ts",
      "are not signed for a history that is not that of the last run's checkpoint",
    ),
  },
  {
    control: "an alarm for a witness that is away",
    removals: [
      removal("audit/src/witness/publisher.ts", "waitingMs > options.lateMs) observer.late", "false) observer.late"),
    ],
    noticedBy: auditTest(
      "witness/publisher.test.ts",
      "keeps what its store does not take, comes again ever more slowly, and says so once after the bound",
    ),
  },
  {
    control: "a place in each batch for every writer",
    removals: [
      removal(
        "audit/src/log/audit-log.ts",
        "this.#queue.push({ draft, writer }, writer)",
        'this.#queue.push({ draft, writer }, "")',
      ),
    ],
    noticedBy: auditTest(
      "log/audit-log.test.ts",
      "acknowledges another writer's record in the next batch of a flood, and refuses only the flood",
    ),
  },
  {
    control: "refused calls are recorded",
    removals: [removal("chassis/src/handlers.ts", "{ refused: refusals.refused }", "{}")],
    noticedBy: chassisTest(
      "audit-refusals.test.ts",
      "whom the gate refuses is recorded: who it is, if that is verified, and which method, and nothing of the request",
    ),
  },
  {
    control: "rate of refused calls",
    removals: [
      removal("chassis/src/audit-refusals.ts", "if (allowance.tokens < 1) {", "if (allowance.tokens < -1e9) {"),
    ],
    noticedBy: chassisTest(
      "audit-refusals.test.ts",
      "a flood of refused calls is a few records, its count, and no less of anybody else's",
    ),
  },
  {
    control: "one allowance for callers without number",
    removals: [removal("chassis/src/audit-refusals.ts", "callers.size < maxCallers", "true")],
    noticedBy: chassisTest(
      "audit-refusals.test.ts",
      "many callers are no way around the limit, and are forgotten when they are quiet",
    ),
  },
  {
    control: "an outage is marked",
    removals: [removal("chassis/src/audit.ts", "        await sendGap();\n", "")],
    noticedBy: chassisTest("audit-spool.test.ts", "each outage is marked once, in front of what waited in it"),
  },
  {
    control: "open calls are closed",
    removals: [removal("chassis/src/audit-open-calls.ts", "  closeLeftOpen(database, spool, logger);\n", "")],
    noticedBy: chassisTest(
      "audit-spool.test.ts",
      "a call that its process died in is closed as unknown at the next start, once",
    ),
  },
];

if (import.meta.main) ablate(ablations);
