/** What the disks of tests open with, as the port and as the launcher's protocol take it. */
export const testDiskKey = Buffer.alloc(64, "a key of a disk");
export const testDiskKeyText = testDiskKey.toString("base64");
