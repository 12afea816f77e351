import { join } from "node:path";
import { type Control, daysSince, failed, judged, pass, unknown } from "../control.ts";

/** The register that this release came with. */
export const shippedRiskRegisterPath = join(import.meta.dirname, "../../../../../docs/residual-risks.md");

const maxAgeDays = 90;

/** What no setting closes is accepted in writing, by name, and looked at again. */
export const residualRisksAccepted: Control = {
  id: "HOST-13",
  required: false,
  requirement: "the register of residual risks was reviewed and accepted in the last 90 days",
  remedy: "review docs/residual-risks.md and date the review",
  check: async ({ files, riskRegisterPath, nowMs }) =>
    judged(await files.text(riskRegisterPath), (text) => {
      const reviewed = /^Reviewed: (\d{4}-\d{2}-\d{2})$/m.exec(text)?.[1];
      const owner = /^Accepted by: (\S.*)$/m.exec(text)?.[1];
      if (reviewed === undefined || owner === undefined)
        return unknown("the register says not when it was reviewed, or by whom");
      const age = daysSince(reviewed, nowMs);
      if (Number.isNaN(age)) return unknown(`${reviewed} is no date`);
      const measured = `reviewed on ${reviewed}, accepted by ${owner}`;
      return age < 0 || age > maxAgeDays ? failed(measured) : pass(measured);
    }),
};
