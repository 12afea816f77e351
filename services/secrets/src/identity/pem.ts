const alphabet = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "latin1");
const lineLength = 64;

/** PEM text of `der` as bytes. It makes no string on the way: a string of a private key could not be wiped. */
export function pemBytes(label: string, der: Uint8Array): Uint8Array {
  const head = Buffer.from(`-----BEGIN ${label}-----\n`, "latin1");
  const tail = Buffer.from(`-----END ${label}-----\n`, "latin1");
  const symbols = Math.ceil(der.length / 3) * 4;
  const pem = new Uint8Array(head.length + symbols + Math.ceil(symbols / lineLength) + tail.length);
  pem.set(head);
  let position = head.length;
  for (let symbol = 0; symbol < symbols; symbol += 1) {
    if (symbol > 0 && symbol % lineLength === 0) pem[position++] = 10;
    pem[position++] = symbolAt(der, symbol);
  }
  if (symbols > 0) pem[position++] = 10;
  pem.set(tail, position);
  return pem;
}

function symbolAt(der: Uint8Array, symbol: number): number {
  const group = Math.floor(symbol / 4) * 3;
  const place = symbol % 4;
  if (group + place > der.length) return 61; // "=": four symbols stand for three bytes, and these bytes are not there
  const bits = ((der[group] ?? 0) << 16) | ((der[group + 1] ?? 0) << 8) | (der[group + 2] ?? 0);
  return alphabet[(bits >> (18 - 6 * place)) & 63] ?? 0;
}
