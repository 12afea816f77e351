/**
 * Takes one control of the agent away at a time, in a copy of its sources, and shows that its test goes red:
 * `node --test deploy/guest/agent/controls.ablation.ts`. A row whose test still passes is a control that nothing tests.
 */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

interface Control {
  readonly control: string;
  readonly removal: Removal;
  readonly test: readonly [file: string, name: string];
}

const server = "grpc-server.test.ts";
const attacks = "attacks.host.test.ts";
const terminals = "terminals.test.ts";
const early = "a certificate of the future is refused before a handler begins, even with the token";
const forged =
  "a certificate of the future that the platform did not sign is refused before a handler begins, even with the token";

const controls: readonly Control[] = [
  {
    control: "token",
    removal: { file: "access.ts", find: 'return hasToken ? "allowed" : "wrong-token";', replace: 'return "allowed";' },
    test: [server, "no token, another service's and another guest's are refused before a handler begins"],
  },
  {
    control: "only the clock for a certificate of the future",
    removal: { file: "access.ts", find: 'standing === "early" &&', replace: "false &&" },
    test: [server, early],
  },
  {
    control: "the host's bytes and time before a key",
    removal: { file: "agent-service.ts", find: "      await takeClock(clock);\n", replace: "" },
    test: ["identity-key.test.ts", "a key is made after the host's bytes were mixed and its time was taken"],
  },
  {
    control: "the signature apart from OpenSSL's verdict",
    removal: { file: "caller.ts", find: "certificate.verify(authority.publicKey) &&", replace: "" },
    test: [server, forged],
  },
  {
    control: "no session tickets",
    removal: { file: "tls-options.ts", find: "constants.SSL_OP_NO_TICKET", replace: "0" },
    test: [server, "of a hundred connections none resumes the session of an earlier one"],
  },
  {
    control: "nobody from the guest's own address",
    removal: { file: "admission.ts", find: "|| socket.remoteAddress === socket.localAddress", replace: "" },
    test: [server, "who dials from the guest's own address is not the host"],
  },
  {
    control: "the end of connections of an old generation",
    removal: {
      file: "grpc-server.ts",
      find: "isNewGeneration ? limits.oldGenerationMs : endMs - Date.now()",
      replace: "endMs - Date.now()",
    },
    test: [
      server,
      "a connection does not outlive the generation that it began with, busy or not, nor one that was renewed before",
    ],
  },
  {
    control: "the end of connections of a certificate that is over",
    removal: {
      file: "grpc-server.ts",
      find: "Math.min(own, admitted?.validToMs ?? 0)",
      replace: "own",
    },
    test: [server, "a renewal lets nothing go on beyond the certificate that it began under"],
  },
  {
    control: "the bound of headers",
    removal: {
      file: "grpc-server.ts",
      find: "if (headerBytes(request.rawHeaders) > maximumHeaderBytes)",
      replace: "if (false)",
    },
    test: [attacks, "headers beyond 8 KiB are not answered"],
  },
  {
    control: "no unknown field",
    removal: { file: "grpc-server.ts", find: "interceptors: [onlyKnownFields],", replace: "" },
    test: [attacks, "deep nesting, JSON and unknown fields are refused"],
  },
  {
    control: "the end of a stream whose body was not read to the end",
    removal: { file: "grpc-server.ts", find: "    stream.destroy();\n", replace: "" },
    test: [attacks, "a message is counted in bytes, before it is decoded"],
  },
  {
    control: "the refusal of an authority that is no host name",
    removal: { file: "grpc-server.ts", find: "if (!URL.canParse(", replace: "if (false && !URL.canParse(" },
    test: [attacks, "an authority that is no host name is refused"],
  },
  {
    control: "the bound of messages",
    removal: { file: "grpc-server.ts", find: "readMaxBytes: maximumMessageBytes,", replace: "" },
    test: [attacks, "a message is counted in bytes, before it is decoded"],
  },
  {
    control: "room that the oldest connection makes, as a bound that cuts the newest one",
    removal: {
      file: "admission.ts",
      find: "this.#sockets.set(key, socket);",
      replace: "if (this.#sockets.size >= 16) return void socket.destroy(); this.#sockets.set(key, socket);",
    },
    test: [attacks, "a thousand sockets that never finish a handshake keep nobody out"],
  },
  {
    control: "no time before the last one",
    removal: { file: "clock.ts", find: "if (hostMs < this.#floorMs)", replace: "if (false)" },
    test: ["clock.test.ts", "a time before the last one that was told is refused and changes nothing"],
  },
  {
    control: "the number of holds",
    removal: { file: "holds.ts", find: "const maximumHolds = 16;", replace: "const maximumHolds = 1600;" },
    test: ["activity.test.ts", "a seventeenth hold and one of more than five minutes are refused"],
  },
  {
    control: "the end of a hold",
    removal: { file: "holds.ts", find: "if (endMs <= this.#nowMs()) this.#ends.delete(name);", replace: "void endMs;" },
    test: [
      "activity.test.ts",
      "the host is told of traffic, holds and running jobs; a hold ends at its time or before",
    ],
  },
  {
    control: "no link in place of the workload's file of jobs",
    removal: { file: "jobs-file.ts", find: "constants.O_RDONLY | constants.O_NOFOLLOW", replace: "constants.O_RDONLY" },
    test: [
      "activity.test.ts",
      "a file that is absent, no JSON, too large, a link or a device is no jobs, and is no end of the agent",
    ],
  },
  {
    control: "only the certificate of the guest's own new key",
    removal: { file: "identity-renewal.ts", find: "if (!itsKey.equals(pending.publicKey))", replace: "if (false)" },
    test: ["identity-renewal.test.ts", "whatever is wrong with a new identity, the guest keeps the one it has"],
  },
  {
    control: "the key that waits for its certificate, before an earlier generation's",
    removal: { file: "identity-renewal.ts", find: "this.#pending?.generation ?? 0", replace: "0" },
    test: [
      "identity-renewal.test.ts",
      "a key of a later generation that waits for its certificate is not replaced by one of an earlier",
    ],
  },
  {
    control: "no secrets in a guest that is about to be saved",
    removal: { file: "agent-service.ts", find: "if (parts.sleep.isEmptied)", replace: "if (false)" },
    test: ["inject-secrets.test.ts", "what a suspend has taken away comes back with the next generation"],
  },
  {
    control: "secrets of the next generation for a guest that is woken",
    removal: {
      file: "sleep.ts",
      find: " && this.#parts.current.value.generation <= this.#emptied",
      replace: "",
    },
    test: ["inject-secrets.test.ts", "what a suspend has taken away comes back with the next generation"],
  },
  {
    control: "the end of a terminal's session with its command",
    removal: {
      file: "terminal-command.ts",
      find: "exitCodeOf(child, killRest)",
      replace: "exitCodeOf(child, () => undefined)",
    },
    test: [terminals, "what a shell left in other groups of its session ends with it"],
  },
  {
    control: "the end of what a hang-up does not end",
    removal: { file: "terminal-command.ts", find: 'child.kill("SIGKILL");', replace: "return;" },
    test: [terminals, "a call that is left hangs up, and kills what does not heed it"],
  },
  {
    control: "the bound of commands",
    removal: { file: "stream-places.ts", find: "if (this.#taken >= this.#limit)", replace: "if (false)" },
    test: [terminals, "a size or a type that is none, and one command too many, are refused"],
  },
];

const below = (file: string) => `deploy/guest/agent/${file}`;
export const ablations: readonly Ablation[] = controls.map(({ control, removal, test: [file, name] }) => ({
  control,
  removals: [{ ...removal, file: below(removal.file) }],
  noticedBy: { file: below(file), name },
}));

if (import.meta.main) ablate(ablations);
