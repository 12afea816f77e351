import { chmodSync, chownSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { stateRoot } from "./instance.ts";
import type { Account } from "./users.ts";

/** `net` makes taps through this device, and has no capability that would open it where only root may. */
const devicePath = "/dev/net/tun";
const savedPath = `${stateRoot}/tun-device.json`;
const savedSchema = z.strictObject({ mode: z.int().min(0).max(0o777), uid: z.int().min(0), gid: z.int().min(0) });

interface Paths {
  readonly device: string;
  readonly saved: string;
}

/**
 * Lets `user` open the tun device, through its group, and remembers how the device was. Debian leaves the device open to all,
 * and then nothing is changed. Returns whether it changed anything.
 */
export function grantTunDevice(user: Account, paths: Paths = { device: devicePath, saved: savedPath }): boolean {
  if (!existsSync(paths.device)) throw new Error(`${paths.device} does not exist: load the kernel module tun`);
  const { mode, uid, gid } = statSync(paths.device);
  const readWrite = 0o006;
  if ((mode & readWrite) === readWrite || (gid === user.gid && (mode & 0o060) === 0o060)) return false;
  if (!existsSync(paths.saved)) {
    writeFileSync(paths.saved, JSON.stringify({ mode: mode & 0o777, uid, gid }), { mode: 0o600, flush: true });
  }
  chownSync(paths.device, uid, user.gid);
  chmodSync(paths.device, 0o660);
  return true;
}

/** Gives the device back as `grantTunDevice` found it. Safe to repeat. */
export function restoreTunDevice(paths: Paths = { device: devicePath, saved: savedPath }): void {
  if (!existsSync(paths.saved)) return;
  const { mode, uid, gid } = savedSchema.parse(JSON.parse(readFileSync(paths.saved, "utf8")));
  if (existsSync(paths.device)) {
    chownSync(paths.device, uid, gid);
    chmodSync(paths.device, mode);
  }
  rmSync(paths.saved);
}
