// Announcements that this machine is done with, so that one that the hub gives again is heard once; those
// that have begun to sound are known on disk, as the board may be killed in the middle.

import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FLEET_LIMITS } from "../config.ts";
import { removeLitter } from "../io/atomic.ts";

export class Heard {
  private readonly known = new Set<string>();
  private notes = 0;

  /** @param folder for this board alone; "" keeps nothing on disk */
  constructor(private readonly folder: string) {}

  has(id: string): boolean {
    return this.known.has(id) || (this.folder !== "" && existsSync(join(this.folder, id)));
  }

  /** Something became of it, and be it nothing: this process is done with it. */
  pass(id: string): void {
    if (this.known.size >= FLEET_LIMITS.sayMessages) this.known.clear(); // those on disk stay known
    this.known.add(id);
  }

  /** Throws the file system's errors; it is known in this process nevertheless. */
  note(id: string): void {
    this.pass(id);
    if (this.folder === "") return;
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    if (this.notes++ % FORGET_EVERY === 0) this.forget();
    // there is nothing in it, and the first sound waits for this
    writeFileSync(join(this.folder, id), "", { mode: 0o600 });
  }

  /** What the hub does not keep any more cannot come again. */
  private forget(): void {
    for (const name of readdirSync(this.folder)) {
      const path = join(this.folder, name);
      try {
        if (Date.now() - statSync(path).mtimeMs > 2 * FLEET_LIMITS.sayMs) removeLitter(path);
      } catch {
        // another process has removed it
      }
    }
  }
}

const FORGET_EVERY = 100;
