import type { Duplex } from "node:stream";
import { vmmFail } from "../port.ts";
import { type ApiDeadlines, createFirecrackerApi, type FirecrackerApi } from "./api-client.ts";
import { type HttpConnection, openHttpConnection } from "./http-connection.ts";
import { escapeUntrusted } from "./untrusted-text.ts";

/** The API of one VM over one connection that is kept, and made anew when it was lost. */
export interface KeptApi {
  /**
   * Nobody gets an API before its VMM has said that it is this VM's.
   * Errors: those of `open`, MACHINE_MISMATCH (it is another VM's), and those of the API.
   */
  get(): Promise<FirecrackerApi>;
  /** "busy": a call is under way, or a connection is being made. "none": `get` makes one. */
  readonly state: "none" | "idle" | "busy";
  close(): void;
}

export function keepApi(vmId: string, open: () => Promise<Duplex>, deadlines: ApiDeadlines): KeptApi {
  let connection: HttpConnection | undefined;
  let api: FirecrackerApi | undefined;
  let connecting: Promise<FirecrackerApi> | undefined;
  let closed = false;

  const connect = async (): Promise<FirecrackerApi> => {
    const made = openHttpConnection(await open());
    connection = made;
    if (closed) made.close();
    const candidate = createFirecrackerApi(made, deadlines);
    try {
      const { id } = await candidate.getInstance();
      if (id !== vmId)
        throw vmmFail("MACHINE_MISMATCH", `the VMM is that of ${escapeUntrusted(id, 64)}, not of ${vmId}`);
    } catch (error) {
      made.close();
      throw error;
    }
    api = candidate;
    return candidate;
  };
  const isLive = () => api !== undefined && connection?.closed === false;
  return {
    async get() {
      if (connecting === undefined && api !== undefined && isLive()) return api;
      api = undefined;
      connecting ??= connect().finally(() => {
        connecting = undefined;
      });
      return await connecting;
    },
    get state() {
      if (connecting !== undefined) return "busy";
      if (!isLive()) return "none";
      return connection?.busy === true ? "busy" : "idle";
    },
    close() {
      closed = true;
      connection?.close();
    },
  };
}
