import { create } from "@bufbuild/protobuf";
import { ListClientCertificatesResponseSchema } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { certificateColumns } from "../client-text.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { allOf } from "../pages.ts";
import { show } from "../show.ts";
import { renderTable } from "../table.ts";

export const clientLs: Command = {
  name: "client ls",
  summary: "list the certificates of viewers and owners that count",
  operands: [],
  options: {},
  notes: "Those that root issued on the host are not among them.",
  async run(_words, context) {
    const certificates = await allOf(
      (page) => context.clients.clientCertificates.listClientCertificates({ page }, { signal: context.signal }),
      (answer) => answer.certificates,
    );
    const answer = create(ListClientCertificatesResponseSchema, { certificates });
    await show(context, ListClientCertificatesResponseSchema, answer, () =>
      renderTable(certificateColumns, certificates),
    );
    return exitStatus.ok;
  },
};
