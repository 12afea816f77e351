const recordHeaderBytes = 5;
const handshakeRecord = 22;
/** A hello is a few hundred bytes; with keys for quantum computers some two thousand. */
const maximumHelloBytes = 8 * 1024;

/** What the first bytes of a connection are: the start of a TLS hello, all of its first record, or something else. */
export function helloState(bytes: Uint8Array): "incomplete" | "complete" | "not-tls" {
  const [type = handshakeRecord, major = 3] = bytes;
  if (type !== handshakeRecord || major !== 3) return "not-tls";
  if (bytes.length < recordHeaderBytes) return "incomplete";
  const recordBytes = ((bytes[3] ?? 0) << 8) | (bytes[4] ?? 0);
  if (recordBytes > maximumHelloBytes) return "not-tls";
  return bytes.length < recordHeaderBytes + recordBytes ? "incomplete" : "complete";
}
