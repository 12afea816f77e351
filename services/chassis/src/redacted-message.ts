import { clone, type DescMessage, type Message, toBinary } from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";

const secretType = "lobsterd.common.v1.SecretBytes";

/**
 * Binary form of `message` with every `SecretBytes` emptied: a digest over it says nothing about a secret, however short
 * the secret is.
 */
export function withoutSecrets(schema: DescMessage, message: Message): Uint8Array {
  const copy = clone(schema, message);
  clearSecrets(reflect(schema, copy));
  return toBinary(schema, copy);
}

function clearSecrets(message: ReflectMessage): void {
  if (message.desc.typeName === secretType) {
    for (const field of message.fields) message.clear(field);
    return;
  }
  for (const field of message.fields) {
    if (!message.isSet(field)) continue;
    if (field.fieldKind === "message") {
      clearSecrets(message.get(field));
    } else if (field.fieldKind === "list" && field.listKind === "message") {
      for (const item of message.get(field)) if (isReflected(item)) clearSecrets(item);
    } else if (field.fieldKind === "map" && field.mapKind === "message") {
      for (const item of message.get(field).values()) if (isReflected(item)) clearSecrets(item);
    }
  }
}

function isReflected(value: unknown): value is ReflectMessage {
  return typeof value === "object" && value !== null && "desc" in value && "fields" in value;
}
