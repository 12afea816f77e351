import { type ClientCertificate, ClientRole, ClientRoleSchema } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import type { Operand } from "./command.ts";
import { enumText, momentText } from "./show.ts";
import type { Column } from "./table.ts";

export const clientOperand: Operand = {
  name: "NAME",
  help: "name of the client: lower-case letters, digits, dots and hyphens",
};

/** Roles that a certificate can be issued with here; operators are made by root on the host. */
export const clientRoles = { owner: ClientRole.OWNER, viewer: ClientRole.VIEWER } as const;

/** Columns of a list of certificates. */
export const certificateColumns: ReadonlyArray<Column<ClientCertificate>> = [
  { heading: "NAME", cell: ({ name }) => name },
  { heading: "ROLE", cell: ({ role }) => enumText(ClientRoleSchema, role) },
  { heading: "SERIAL", cell: ({ serialNumber }) => serialNumber },
  { heading: "ISSUED", cell: ({ issueTime }) => momentText(issueTime) },
  { heading: "EXPIRES", cell: ({ expireTime }) => momentText(expireTime) },
];
