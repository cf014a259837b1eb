// Whether memory stays flat over 100 kB of text: `make memory`. The program speaks it with the starter voice
// into a pipe, into a file, and into a pipe that is read slowly, side by side; the table shows its RSS in MB,
// minute by minute. Fails where the end of a run is more than a tenth above its first minute.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const TEXT_BYTES = 100_000;
const MINUTE_MS = 60_000;
const MOST_GROWTH = 1.1;
/** The slow reader takes four seconds of sound in one, and is sent away after so many minutes. */
const SLOW_BYTES = 4 * 48_000;
const SLOW_MINUTES = 8;

const folder = mkdtempSync(join(tmpdir(), "tts-memory-"));
const text = join(folder, "text.txt");
writeFileSync(
  text,
  Array.from({ length: 1_000 }, (_, i) => {
    const opening = i % 6 === 0 ? "\n\n" : "";
    return `${opening}Door ${i} is open, and the kettle for ${(7 * i) % 97} people boils. We wait for dinner; come at half past ${(i % 12) + 1}! `;
  })
    .join("")
    .slice(0, TEXT_BYTES),
);

const start = (...output: string[]) =>
  spawn(process.execPath, ["tts.ts", "-i", text, "--seed", "7", ...output], {
    cwd: join(import.meta.dir, "../.."),
    stdio: ["ignore", "pipe", "ignore"],
  });

/** Takes so many bytes a second. */
function readSlowly(child: ChildProcess): void {
  let taken = 0;
  child.stdout!.on("data", (bytes: Buffer) => {
    taken += bytes.length;
    if (taken < SLOW_BYTES) return;
    taken = 0;
    child.stdout!.pause();
    setTimeout(() => child.stdout!.resume(), 1_000);
  });
  setTimeout(() => child.kill(), SLOW_MINUTES * MINUTE_MS);
}

function rssMb(child: ChildProcess): number | null {
  try {
    const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
    const [, kb] = /^VmRSS:\s*(\d+)/m.exec(status) ?? [];
    return kb === undefined ? null : Math.round(Number(kb) / 1024);
  } catch {
    return null; // it has ended
  }
}

/** RSS after each minute, and the last that was seen. */
async function follow(name: string, child: ChildProcess): Promise<boolean> {
  const minutes: number[] = [];
  let [last, seconds, running] = [0, 0, true];
  child.once("exit", () => {
    running = false;
  });
  while (running) {
    await Bun.sleep(1_000);
    last = rssMb(child) ?? last;
    if (++seconds % 60 === 0) minutes.push(last);
  }
  const isFlat = last <= MOST_GROWTH * (minutes[0] ?? last);
  console.log(`${name.padEnd(10)} ${[...minutes, last].join(" ")}  ${isFlat ? "flat" : "NOT FLAT"}`);
  return isFlat;
}

const [pipe, file, slow] = [
  start("-o", "-", "--format", "pcm"),
  start("-o", join(folder, "sound.wav")),
  start("-o", "-", "--format", "pcm"),
];
pipe.stdout!.resume();
readSlowly(slow);
const flat = await Promise.all([follow("pipe", pipe), follow("file", file), follow("slow pipe", slow)]);
rmSync(folder, { recursive: true });
if (flat.includes(false)) process.exitCode = 1;
