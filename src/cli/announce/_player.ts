// A player: a command that gets raw samples.

import { spawn } from "node:child_process";
import type { Player } from "../../announce/speaker.ts";
import { toS16le } from "../../audio/pcm.ts";

export async function openPlayer(command: string): Promise<Player> {
  const child = spawn("sh", ["-c", command], { stdio: ["pipe", "ignore", "inherit"] });
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    async write(samples) {
      if (!child.stdin.write(toS16le(samples))) await new Promise((r) => child.stdin.once("drain", r));
    },
    async finish() {
      child.stdin.end();
      await closed;
    },
    abandon: () => void child.kill(),
  };
}
