import type { SecretMetadata } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { momentText } from "./show.ts";
import type { Column } from "./table.ts";

/** Columns of a list of secrets. */
export const secretColumns: ReadonlyArray<Column<SecretMetadata>> = [
  { heading: "NAME", cell: ({ name }) => name },
  { heading: "VERSION", cell: ({ version }) => String(version), isRight: true },
  { heading: "TARGET", cell: targetText },
  { heading: "LABEL", cell: ({ label }) => (label === undefined ? "" : `${label.key}=${label.value}`) },
  { heading: "CURRENT", cell: deliveredText },
  { heading: "UPDATED", cell: ({ updateTime }) => momentText(updateTime) },
];

/** Where a secret goes in the guest. */
export function targetText({ name, target }: SecretMetadata): string {
  switch (target?.target.case) {
    case "file":
      return `/run/secrets/${name}`;
    case "environment":
      return `$${target.target.value.variable}`;
    case "configuration":
      return `configuration ${target.target.value.pointer}`;
    default:
      return "";
  }
}

/** How many of the running guests that have it have its newest version. */
function deliveredText({ deliveries, version }: SecretMetadata): string {
  if (deliveries.length === 0) return "";
  return `${deliveries.filter((delivery) => delivery.version === version).length}/${deliveries.length}`;
}
