// What other programs left of a model in the hub's own cache: snapshots by commit, refs that name commits,
// blobs named after their sums. Reads it only.

import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { textOrEmpty } from "../io/read.ts";
import type { HubFile } from "./catalog.ts";

export class HubCache {
  private readonly folder: string;

  constructor(cacheDir: string, id: string) {
    this.folder = join(cacheDir, `models--${id.replace("/", "--")}`);
  }

  /** The full commits that have files here. */
  commits(): string[] {
    const snapshots = join(this.folder, "snapshots");
    return existsSync(snapshots) ? readdirSync(snapshots).filter((name) => /^[0-9a-f]{40}$/.test(name)) : [];
  }

  /** What a branch or tag stands for, if that commit has files here; else null. */
  commitOf(name: string): string | null {
    const refs = join(this.folder, "refs");
    const ref = join(refs, name);
    const commit = ref.startsWith(`${refs}/`) ? textOrEmpty(ref).trim() : "";
    return this.commits().includes(commit) ? commit : null;
  }

  /** For a cache without refs: the last commit that none of them names, else the last of all, or null. */
  unnamed(): string | null {
    const refs = join(this.folder, "refs");
    const names = existsSync(refs) ? readdirSync(refs, { recursive: true, encoding: "utf8" }) : [];
    const named = new Set(names.map((name) => this.commitOf(name)));
    const time = (commit: string) => statSync(this.pathOf(commit, "")).mtimeMs;
    const [last] = this.commits().toSorted(
      (a, b) => Number(named.has(a)) - Number(named.has(b)) || time(b) - time(a),
    );
    return last ?? null;
  }

  /** Where a file of a commit is, if it is here. */
  pathOf(commit: string, path: string): string {
    return join(this.folder, "snapshots", commit, path);
  }

  files(commit: string): HubFile[] {
    const names = readdirSync(this.pathOf(commit, ""), { recursive: true, encoding: "utf8" });
    return names.flatMap((path): HubFile[] => {
      const file = this.pathOf(commit, path);
      const stat = statSync(file, { throwIfNoEntry: false });
      if (stat?.isDirectory()) return [];
      const sum = stat === undefined ? "" : basename(realpathSync(file));
      return [
        {
          path,
          bytes: stat?.size ?? 0,
          sha256: /^[0-9a-f]{64}$/.test(sum) ? sum : null,
          gitOid: /^[0-9a-f]{40}$/.test(sum) ? sum : null,
        },
      ];
    });
  }
}
