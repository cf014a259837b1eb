// A board as a process of its own, with a player that notes when its first byte came.

import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { environment } from "../cli/_tts.ts";
import { until } from "./_house.ts";

export interface Played {
  firstMs: number;
  /** Of the sound, but for the first sample. */
  bytes: number;
}

export class BoardProcess {
  stderr = "";
  readonly process: ReturnType<typeof Bun.spawn>;
  private readonly log: string;

  /** @param folder of the test; the board has its cache in it, as on a machine of its own */
  constructor(folder: string, hub: string, name: string, options: string) {
    const player = join(folder, `player-${name}`);
    this.log = join(folder, `log-${name}`);
    const note = `date +%s%N >> "${this.log}"; wc -c >> "${this.log}"`;
    writeFileSync(player, `#!/bin/sh\nhead -c 2 >/dev/null; ${note}\n`);
    chmodSync(player, 0o755);
    const line = `exec $TTS join --name ${name} --player ${player} ${options}`;
    const env = { ...environment(), TTS_CACHE: join(folder, name), TTS_FLEET: hub };
    this.process = Bun.spawn(["bash", "-c", line], { cwd: folder, env, stderr: "pipe" });
    void this.follow();
  }

  private async follow(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.process.stderr as ReadableStream<Uint8Array>)
      this.stderr += decoder.decode(bytes, { stream: true });
  }

  told(words: string): Promise<void> {
    return until(() => this.stderr.includes(words), words);
  }

  /** What it has played to the end. */
  get played(): Played[] {
    const lines = existsSync(this.log) ? readFileSync(this.log, "utf8").trim().split("\n") : [];
    return Array.from({ length: Math.floor(lines.length / 2) }, (_, i) => ({
      firstMs: Number(lines[2 * i]) / 1e6,
      bytes: Number(lines[2 * i + 1]),
    }));
  }

  /** @returns its exit status */
  end(signal: "SIGTERM" | "SIGINT"): Promise<number> {
    this.process.kill(signal);
    return this.process.exited;
  }
}
