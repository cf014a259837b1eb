// What the checks of the NPUs' device nodes share. Reads files only.

import { accessSync, constants } from "node:fs";

/** What to do about a code that only a wrong call gives. */
export const REPORT = "this program and the library disagree: report it with these versions";

/** Whether this user may read and write a device's node. */
export function mayUse(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
