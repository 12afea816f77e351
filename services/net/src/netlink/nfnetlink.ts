/** Families of nfgenmsg. */
export const families = { inet: 1, ip: 2, arp: 3, netdev: 5 } as const;
export type NftFamily = keyof typeof families;

export const nfgenBytes = 4;

/** struct nfgenmsg */
export function nfgen(family: number, resource = 0, version = 0): Buffer {
  const bytes = Buffer.alloc(nfgenBytes);
  bytes.writeUInt8(family, 0);
  bytes.writeUInt8(version, 1);
  bytes.writeUInt16BE(resource, 2);
  return bytes;
}
