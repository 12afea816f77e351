/**
 * Takes one control of the clients' authority away at a time, in a copy of the chassis, and shows that its test goes red:
 * `node --test services/chassis/src/clients-authority.ablation.ts`.
 */
import { type Ablation, ablate, type Removal } from "./testing-control-removal.ts";

const removal = (file: string, find: string, replace: string): Removal => ({
  file: `services/chassis/src/${file}`,
  find,
  replace,
});
const forged =
  "whoever holds the key of the clients' authority, and its list, is no service, no operator and nobody of the platform's";
const listed = "a listed viewer or owner is let in as that and no more; one that is not listed is refused";
const noOperator = "a list that calls somebody an operator counts for nothing";
const apart = "the list revokes nothing of the platform's, and the platform's list nothing of it";
const absent = "without a list the server serves all others, and it counts when it comes";
const revoked = "who is taken off the list is refused within seconds, on open connections too";

const controls: readonly { control: string; removals: readonly Removal[]; name: string }[] = [
  {
    control: "authorities are told apart",
    removals: [
      removal(
        "authorities.ts",
        'known.clients.some(isSigned) ? "clients"',
        'known.clients.some(isSigned) ? "platform"',
      ),
    ],
    name: forged,
  },
  {
    control: "an authority signs its leaves itself",
    removals: [removal("authorities.ts", '? "clients" : undefined', '? "clients" : "clients"')],
    name: forged,
  },
  {
    control: "what it signed is a client",
    removals: [
      removal("caller.ts", 'return caller.kind === "client" ? caller : { kind: "stranger", uri };', "return caller;"),
    ],
    name: forged,
  },
  {
    control: "the platform's names are the platform's",
    removals: [removal("caller.ts", " || roles.has(uri)", "")],
    name: forged,
  },
  {
    control: "no operator in the list",
    removals: [
      removal("client-list.ts", 'z.enum(["viewer", "owner"])', 'z.enum(["viewer", "owner", "operator" as "owner"])'),
    ],
    name: noOperator,
  },
  {
    control: "who is not listed is revoked",
    removals: [
      removal("caller.ts", "issued.get(peer.serialNumber)?.uri !== peer.uri", "false"),
      removal("caller.ts", "  if (client?.uri !== uri || ", "  if ("),
      removal("caller.ts", "client.role]", 'client?.role ?? "viewer"]'),
    ],
    name: listed,
  },
  {
    control: "each list counts for its own authority",
    removals: [
      removal(
        "caller.ts",
        'peer.authority === "platform" ? revoked.has(peer.serialNumber) :',
        'peer.authority === "platform" && !issued.has(peer.serialNumber) ? revoked.has(peer.serialNumber) :',
      ),
    ],
    name: apart,
  },
  {
    control: "a start without a list",
    removals: [removal("client-list.ts", ", logger, nowMs, noClients());", ", logger, nowMs);")],
    name: absent,
  },
  {
    control: "a list is no link",
    removals: [removal("followed-file.ts", " | constants.O_NOFOLLOW", "")],
    name: absent,
  },
  {
    control: "open connections of who was taken off",
    removals: [removal("server.ts", "listener.cut((socket) => endOf(peerOf(socket), lists) !== undefined);", ";")],
    name: revoked,
  },
];

const file = "services/chassis/src/clients-authority.host.test.ts";
export const ablations: readonly Ablation[] = controls.map(({ name, ...ablation }) => ({
  ...ablation,
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
