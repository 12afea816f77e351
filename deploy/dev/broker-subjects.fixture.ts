/** The subjects that a service has no right to, complete by the broker's own lists of its APIs (NATS 2.9). */
import { serviceNames } from "./instance.ts";

const streams = [...serviceNames.map((name) => `LOBSTERD_${name.toUpperCase()}`), "OTHER"];
const consumer = "audit-0123456789ab";

const others = (own: string) => serviceNames.filter((name) => name !== own);

/** Subjects that `own` must not publish to. */
export function foreignPublishes(own: string): string[] {
  const ownStream = `LOBSTERD_${own.toUpperCase()}`;
  return [
    ...others(own).flatMap((name) => [`${name}.v1.demo.evicted`, `${name}.v1._.tested`, `_INBOX_${name}.forged.1`]),
    ...["demo", `${own}.v2.demo.tested`, `${own}.v1`, `_INBOX_${own}.own`, "_INBOX.forged.1", "_R_.forged"],
    ...["$KV.hosts.one", "$O.bucket.C.one", "$G.one", "$NRG.V.one", "$LDS.one", "$GNR.one"],
    ...["ACCOUNT.LOBSTERD.CONNECT", "ACCOUNT.LOBSTERD.DISCONNECT", "SERVER.one.SHUTDOWN"].map((name) => `$SYS.${name}`),
    ...[
      "SERVER.PING",
      "SERVER.one.RELOAD",
      "ACCOUNT.LOBSTERD.CONNZ",
      "ACCOUNT.LOBSTERD.CLAIMS.UPDATE",
      "USER.INFO",
    ].map((name) => `$SYS.REQ.${name}`),
    ...["INFO", "STREAM.NAMES", "STREAM.LIST", "META.LEADER.STEPDOWN", "SERVER.REMOVE", "ACCOUNT.PURGE.LOBSTERD"].map(
      (name) => `$JS.API.${name}`,
    ),
    ...streams.flatMap((stream) => [
      ...(stream === ownStream ? [] : [`$JS.API.STREAM.CREATE.${stream}`]),
      ...streamVerbs.map((verb) => `$JS.API.STREAM.${verb}.${stream}`),
      ...[`$JS.API.STREAM.PEER.REMOVE.${stream}`, `$JS.API.DIRECT.GET.${stream}`, `$JS.API.STREAM.MSG.GET.${stream}`],
      ...[`$JS.API.CONSUMER.CREATE.${stream}`, `$JS.API.CONSUMER.CREATE.${stream}.${consumer}.vm.v1.>`],
      ...["NAMES", "LIST"].map((verb) => `$JS.API.CONSUMER.${verb}.${stream}`),
      ...["DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT", "LEADER.STEPDOWN"].map(
        (verb) => `$JS.API.CONSUMER.${verb}.${stream}.${consumer}`,
      ),
      ...[`$JS.ACK.${stream}.${consumer}.1.1.1.1.0`, `$JS.FC.${stream}.${consumer}.1`, `$JS.SNAPSHOT.ACK.${stream}.1`],
    ]),
  ];
}

const streamVerbs = ["UPDATE", "INFO", "DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN"];

/** Subjects that `own` must not subscribe to: even its own events are not its to read. */
export function foreignSubscribes(own: string): string[] {
  return [
    ...[">", "*", "*.>", "*.*.*.*", "_INBOX.>", "_INBOX.*", "_INBOX_probe.>", "_R_.>"],
    ...others(own).flatMap((name) => [`_INBOX_${name}.>`, `_INBOX_${name}.*`]),
    ...serviceNames.flatMap((name) => [`${name}.>`, `${name}.v1.>`, `${name}.v1.demo.evicted`]),
    ...["$JS.>", "$JS.API.>", "$JS.API.STREAM.CREATE.>", "$JS.ACK.>", "$JS.EVENT.>", "$JSC.>", "$KV.>", "$O.>"],
    ...["$SYS.>", "$SYS.ACCOUNT.>", "$SYS.REQ.>", "$SYS.SERVER.>", "$G.>", "$NRG.>", "$GNR.>", "$LDS.>"],
  ];
}
