import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { listeningPorts } from "./listener-search.ts";

// Header and row layout of /proc/net/tcp and /proc/net/tcp6 on Linux 6.18, columns shortened at the end.
const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:07E3 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 21 1 0 100 0 0 10 0
   1: 0100007F:07E4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0
   2: 0100007F:07E3 0100007F:B2A0 01 00000000:00000000 00:00000000 00000000   998        0 23 1 0 100 0 0 10 0
`;
const tcp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 24 1 0 100 0 0 10 0
`;

describe("listeningPorts", () => {
  it("finds listeners of one user, not its connections and not other users'", () => {
    assert.deepEqual(listeningPorts(tcp, 998), [2019]);
    assert.deepEqual(listeningPorts(tcp, 0), [2020]);
    assert.deepEqual(listeningPorts(tcp6, 998), [443]);
  });

  it("finds nothing in what is no table", () => {
    for (const text of ["", "\n\n", "header\n1 2 3\n", tcp.slice(0, 100)])
      assert.deepEqual(listeningPorts(text, 998), []);
  });
});
