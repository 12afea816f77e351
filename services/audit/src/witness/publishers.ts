import type { Config } from "../config.ts";
import { openDirectoryStore } from "./directory.ts";
import { openHttpsStore } from "./https.ts";
import { openNewestFile } from "./newest-file.ts";
import { createPublisher, type Publisher, type PublisherObserver } from "./publisher.ts";
import type { CheckpointStore } from "./store.ts";

const lateNewestFileMs = 60_000;

/** One publisher for the newest checkpoint on this host, at `newestPath`, and one for each witness that is configured. */
export function createPublishers(
  config: Config,
  newestPath: string,
  observer: PublisherObserver,
): readonly Publisher[] {
  const { witness } = config;
  const publish = (store: CheckpointStore, lateMs: number) =>
    createPublisher({ store, lateMs, now: Date.now, observer });
  const publishers = [publish(openNewestFile(newestPath), lateNewestFileMs)];
  if (witness === undefined) return publishers;
  const lateMs = witness.lateSeconds * 1000;
  if (witness.directory !== undefined)
    publishers.push(publish(openDirectoryStore(witness.directory, Date.now), lateMs));
  if (witness.url !== undefined) publishers.push(publish(openHttpsStore(witness.url, witness.caPath), lateMs));
  return publishers;
}
