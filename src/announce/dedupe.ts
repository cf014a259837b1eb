// What was said a short while ago, so that a sensor that reports twice is heard once. Texts are kept as
// hashes.

import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ANNOUNCE_LIMITS } from "../config.ts";
import { removeLitter, replaceFile } from "../io/atomic.ts";
import { newHash } from "../io/hash.ts";
import { textOrNull } from "../io/read.ts";

const FOLDER = "said";
const NAME = /^[0-9a-f]{64}$/;
const pathOf = (folder: string, text: string) => join(folder, FOLDER, newHash().update(text).digest("hex"));
const momentOf = (path: string) => Number(textOrNull(path) ?? Number.NaN);

/** Whether a text was said within `ms` before `now`. A moment to come counts not: the clock was set back. */
export function wasSaid(folder: string, text: string, ms: number, now: Date): boolean {
  const ago = now.getTime() - momentOf(pathOf(folder, text));
  return ago >= 0 && ago < ms;
}

/** Notes that a text was said just now, and forgets what no announcement can ask for any more. */
export function noteSaid(folder: string, text: string, now: Date): void {
  const own = join(folder, FOLDER);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(own).filter((name) => NAME.test(name))) {
    const ago = now.getTime() - momentOf(join(own, name));
    if (!(ago >= 0 && ago < 1_000 * ANNOUNCE_LIMITS.dedupeSeconds)) removeLitter(join(own, name));
  }
  replaceFile(pathOf(folder, text), String(now.getTime()), { mode: 0o600, flush: false });
}
