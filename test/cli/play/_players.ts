// Players for the tests: small programs that read sound as a device would and write down what they saw, and
// folders that have only the players a test wants.

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What the fake device saw. Times are of the system's clock, in milliseconds. */
export interface Heard {
  args: string[];
  bytes: number;
  firstMs: number;
  /** How long it had nothing to play, after the first sound and before the last. */
  waitedMs: number;
  /** When the last sound has been played. */
  endMs: number;
}

/** Reads at once, plays in its time, and writes {@link Heard} at the end. */
const DEVICE = `
const [log, rate, ...args] = process.argv.slice(2);
let [bytes, firstMs, waitedMs, untilMs] = [0, 0, 0, 0];
for await (const chunk of process.stdin) {
  const now = Date.now();
  if (firstMs === 0) firstMs = untilMs = now;
  waitedMs += Math.max(0, now - untilMs);
  untilMs = Math.max(untilMs, now) + chunk.length / 2 / rate * 1000;
  bytes += chunk.length;
}
await Bun.sleep(Math.max(0, untilMs - Date.now()));
await Bun.write(log, JSON.stringify({ args, bytes, firstMs, waitedMs, endMs: Date.now() }));
`;

/** A command line that plays into nothing, in real time, and the file that it reports to. */
export function device(
  folder: string,
  rateHz: number | string = 24_000,
): { player: string; heard: () => Heard } {
  const [program, log] = [join(folder, "device.js"), join(folder, "heard.json")];
  writeFileSync(program, DEVICE);
  return {
    player: `'${process.execPath}' '${program}' '${log}' ${rateHz}`,
    heard: () => JSON.parse(readFileSync(log, "utf8")),
  };
}

/** A folder for PATH in which programs of these names are shell scripts. */
export function programs(folder: string, scripts: Readonly<Record<string, string>>): string {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const [name, script] of Object.entries(scripts)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return bin;
}

/** Whether a process of this number runs. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
