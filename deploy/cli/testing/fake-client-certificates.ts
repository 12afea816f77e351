import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";
import { defineRoutes, type Routes } from "@lobsterd/chassis/routes.ts";
import {
  type ClientCertificate,
  ClientCertificateSchema,
  ClientService,
  type IssueClientCertificateRequest,
} from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";

/** What the authority for clients was asked for and has issued. */
export interface FakeClientCertificates {
  readonly requests: IssueClientCertificateRequest[];
  issued: ClientCertificate[];
  readonly revokedNames: Set<string>;
}

const startMs = 1_700_000_000_000;
const dayMs = 86_400_000;
const fail = defineErrors("secrets.lobsterd", {
  CLIENT_CERTIFICATE_NOT_FOUND: Code.NotFound,
  CLIENT_NAME_REVOKED: Code.FailedPrecondition,
  CLIENT_NAME_TAKEN: Code.AlreadyExists,
});

/** The name `operator` is taken. Certificates are not real. */
export function clientCertificateRoutes(state: FakeClientCertificates): Routes {
  return defineRoutes(ClientService, {
    issueClientCertificate(request) {
      const { name, role, lifetimeDays } = request;
      if (name === "operator") throw fail("CLIENT_NAME_TAKEN", "operator is a client that root issued");
      if (state.revokedNames.has(name) && !request.reissue) throw fail("CLIENT_NAME_REVOKED", `${name} was revoked`);
      state.requests.push(request);
      const certificate = create(ClientCertificateSchema, {
        ...{ name, role, serialNumber: `A${state.issued.length}`, issueTime: timestampFromMs(startMs) },
        expireTime: timestampFromMs(startMs + (lifetimeDays || 90) * dayMs),
      });
      state.issued.push(certificate);
      return { certificate, certificatePem: `certificate of ${name}\n`, platformCaPem: "authority\n" };
    },
    revokeClientCertificate({ name, serialNumber }) {
      const isMeant = (one: ClientCertificate) =>
        one.name === name && (serialNumber === "" || one.serialNumber === serialNumber);
      const ended = state.issued.filter(isMeant);
      if (ended.length === 0) throw fail("CLIENT_CERTIFICATE_NOT_FOUND", `no such certificate of ${name} counts`);
      state.issued = state.issued.filter((one) => !isMeant(one));
      if (serialNumber === "") state.revokedNames.add(name);
      return { serialNumbers: ended.map((one) => one.serialNumber) };
    },
    listClientCertificates: () => ({ certificates: state.issued, page: {} }),
  });
}
