import { defineMetrics } from "@lobsterd/chassis/metrics.ts";

/** What `audit` exports beside what every service does. Appends as their writers see them are calls of AppendRecord. */
export const auditMetrics = defineMetrics({
  commits: {
    name: "lobsterd.audit.commit.duration",
    kind: "histogram",
    unit: "s",
    description: "Group commits of the log: one write and one fsync each",
  },
  waiting: {
    name: "lobsterd.audit.appends_waiting",
    kind: "gauge",
    unit: "{append}",
    description: "Appends that wait for a commit",
  },
  records: {
    name: "lobsterd.audit.records",
    kind: "gauge",
    unit: "{record}",
    description: "Records in the log",
  },
  unsigned: {
    name: "lobsterd.audit.unsigned_records",
    kind: "gauge",
    unit: "{record}",
    description: "Records that the newest checkpoint does not cover yet",
  },
  checkpointLag: {
    name: "lobsterd.audit.checkpoint_lag",
    kind: "gauge",
    unit: "s",
    description: "How long the oldest checkpoint has waited for its store; 0 when none does",
    attributes: { store: ["file", "directory", "url"] },
  },
  lateCheckpoints: {
    name: "lobsterd.audit.checkpoints_late",
    kind: "counter",
    unit: "{time}",
    description: "Times that a store of checkpoints, such as the witness, fell behind for longer than its bound",
  },
  accepting: {
    name: "lobsterd.audit.accepting",
    kind: "gauge",
    unit: "",
    description: "1 while the log takes records, otherwise 0: its disk is nearly full, or a write failed",
  },
});
