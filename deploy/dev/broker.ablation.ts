/** Takes one control of the broker's configuration away at a time, and shows that what `broker.host.test.ts` finds refused then succeeds. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { NatsConnection } from "@nats-io/transport-node";
import { openBrokerGround } from "./broker-ground.fixture.ts";

const everything = '{"allow":[">"]}';
const isGone = (text: string, control: RegExp, put: string): string => {
  assert.match(text, control);
  return text.replaceAll(control, put);
};

interface Ablation {
  readonly control: string;
  readonly without: (text: string) => string;
  /** Whether the attack succeeds. */
  readonly attack: (vm: NatsConnection, observer: NatsConnection) => Promise<boolean>;
}

const heard = async (listener: NatsConnection, subject: string, send: () => Promise<void>): Promise<boolean> => {
  const messages: string[] = [];
  listener.subscribe(subject, {
    callback: (error, message) => void (error === null && messages.push(message.subject)),
  });
  await listener.flush();
  await send();
  await listener.flush().catch(() => undefined);
  return messages.length > 0;
};

const ablations: readonly Ablation[] = [
  {
    control: "what a service may publish",
    without: (text) => isGone(text, /(?<="publish":)\{"allow":\[[^\]]*\]\}/g, everything),
    attack: (vm, observer) =>
      heard(observer, "audit.v1.>", async () => {
        vm.publish("audit.v1.demo.forged", "{}");
        await vm.flush();
      }),
  },
  {
    control: "an inbox of its own",
    without: (text) => isGone(text, /(?<="subscribe":)\{"allow":\[[^\]]*\]\}/g, everything),
    attack: (vm, observer) =>
      heard(vm, "_INBOX_audit.>", async () => {
        observer.publish("_INBOX_audit.one", "{}");
        await observer.flush();
      }),
  },
  {
    control: "size of a message",
    without: (text) => isGone(text, /max_payload: \d+/g, "max_payload: 1048576"),
    attack: (vm, observer) =>
      heard(observer, "vm.v1.>", async () => {
        if (vm.info !== undefined) vm.info.max_payload = 1024 * 1024;
        vm.publish("vm.v1.demo.large", Buffer.alloc(65_537));
        await Promise.race([vm.flush(), vm.closed()]);
      }),
  },
];

for (const { control, without, attack } of ablations) {
  for (const isThere of [true, false]) {
    test(`${isThere ? "with" : "without"} "${control}" the attack ${isThere ? "fails" : "succeeds"}`, async (t) => {
      const ground = await openBrokerGround(isThere ? undefined : without);
      if (ground === undefined) return t.skip("nats-server cannot be had");
      after(() => ground.close());
      const [vm, observer] = [await ground.connectAs("svc/vm"), await ground.connectAs("svc/observer")];
      assert.equal(await attack(vm, observer), !isThere);
      await Promise.all([vm.close(), observer.close()]);
    });
  }
}
