// Eight clients at once: texts of all lengths in all formats, readers that are slow or vanish, and beside
// them one that sends what is no request. Every sound that is read to its end must be, byte by byte, what the
// command line makes of the same text and seed.

import { FORMAT_NAMES, type Format } from "../../../src/audio/encode/formats.ts";
import { dial, type Head, type Wire } from "./client.ts";
import { malformed } from "./malformed.ts";
import { type Holds, holds, loadAverage, quantile, type Server, TTS } from "./server.ts";

const CLIENTS = 8;
/** Of one client alone, to compare with. */
const ALONE = 60;
const TEXTS = {
  short: ["Yes.", "The door is open."],
  middle: [
    "The kettle is ready. The time is seven forty five.",
    "Dinner is at half past six, in the garden.",
  ],
  long: [
    `Please close the windows and turn off the lights. ${"The bus leaves at noon, and it is raining. ".repeat(2)}`,
    "The washing machine is done. ".repeat(8).trim(),
  ],
} as const;
type Length = keyof typeof TEXTS;
const SEEDS = [1, 7] as const;
const MALFORMED_PER_SPEECH = 3;
const SAMPLES = 10;
const RETRY_MS = 200;
const SLOW_MS = 30;
/** The server closes connections that say nothing before. */
const HANGS_MS = 60_000;

interface Case {
  text: string;
  seed: number;
  format: Format;
  isSse: boolean;
  manner: "usual" | "slow" | "vanishing";
  /** Where a vanishing reader goes: so many bytes of sound after the head; -1: before it. */
  leavesAt: number;
}

/** The same ones in every run. */
export function caseOf(i: number): Case {
  const draw = (name: string, below: number) => Number(Bun.hash(`${name} ${i}`) % BigInt(below));
  const length: Length = draw("length", 100) < 50 ? "short" : draw("length", 100) < 85 ? "middle" : "long";
  const manner = draw("manner", 100);
  return {
    text: TEXTS[length][draw("text", TEXTS[length].length)],
    seed: SEEDS[draw("seed", SEEDS.length)],
    format: FORMAT_NAMES[draw("format", FORMAT_NAMES.length)],
    isSse: draw("sse", 3) === 0,
    manner: manner < 70 ? "usual" : manner < 82 ? "slow" : "vanishing",
    leavesAt: [-1, 0, 1, 5_000, 20_000][draw("leaves", 5)],
  };
}

type Key = Pick<Case, "text" | "seed" | "format">;
const keyOf = ({ format, seed, text }: Key) => `${format} ${seed} ${text}`;

/** What the command line makes of every text, seed and format. */
export async function renderAll(): Promise<ReadonlyMap<string, Buffer>> {
  const keys = Object.values(TEXTS).flatMap((texts) =>
    texts.flatMap((text) =>
      SEEDS.flatMap((seed) => FORMAT_NAMES.map((format): Key => ({ text, seed, format }))),
    ),
  );
  const sounds = new Map<string, Buffer>();
  const work = async () => {
    for (let key = keys.shift(); key !== undefined; key = keys.shift()) {
      const { format, seed, text } = key;
      const args = ["--seed", String(seed), "--format", format, "-o", "-", "--quiet"];
      const child = Bun.spawn([...TTS, text, ...args], { stdout: "pipe", stderr: "inherit" });
      const sound = Buffer.from(await child.stdout.bytes());
      if ((await child.exited) !== 0) throw new Error(`tts ${JSON.stringify(text)} has failed`);
      sounds.set(keyOf(key), sound);
    }
  };
  await Promise.all([work(), work()]);
  return sounds;
}

export interface CrowdResult {
  whole: number;
  left: number;
  refused: number;
  malformed: number;
  /** One line each. */
  lost: string[];
  mixedUp: string[];
  /** Milliseconds until the first sound. */
  aloneMs: number[];
  togetherMs: number[];
  samples: { done: number; server: Holds; engine: Holds }[];
  load: string;
}

export async function crowd(server: Server, speeches: number): Promise<CrowdResult> {
  return new Crowd(server, await renderAll()).run(speeches);
}

class Crowd {
  private done = 0;
  private next = 0;
  private readonly result: CrowdResult = {
    ...{ whole: 0, left: 0, refused: 0, malformed: 0, lost: [], mixedUp: [], aloneMs: [], togetherMs: [] },
    ...{ samples: [], load: "" },
  };

  constructor(
    private readonly server: Server,
    private readonly expected: ReadonlyMap<string, Buffer>,
  ) {}

  async run(speeches: number): Promise<CrowdResult> {
    const { result, server } = this;
    for (let i = 0; i < ALONE; i++) await this.speak({ ...caseOf(i), manner: "usual" }, result.aloneMs);
    this.look();
    const every = Math.max(1, Math.floor(speeches / SAMPLES));
    const client = async () => {
      while (this.next < speeches) {
        await this.speak(caseOf(this.next++), result.togetherMs);
        if (++this.done % every === 0 && this.done < speeches) this.look();
      }
    };
    const clients = Promise.all(Array.from({ length: CLIENTS }, client));
    await Promise.all([clients, this.disturb(speeches)]);
    result.load = loadAverage();
    await server.idle();
    this.look();
    return result;
  }

  private look(): void {
    const { engine, pid } = this.server;
    if (engine === null) return void this.result.lost.push("the engine is gone");
    this.result.samples.push({ done: this.done, server: holds(pid), engine: holds(engine) });
    console.error(`load: ${this.done} speeches`);
  }

  /** Sends what is no request, in step with the speeches. */
  private async disturb(speeches: number): Promise<void> {
    const { result, server } = this;
    while (this.done < speeches) {
      if (result.malformed >= MALFORMED_PER_SPEECH * this.done) {
        await Bun.sleep(RETRY_MS / 10);
        continue;
      }
      const { bytes, goes, name } = malformed(result.malformed++);
      const wire = await dial(server.url);
      wire.send(bytes);
      const sentMs = performance.now();
      if (!goes) {
        const status = await wire.head().then(
          (head) => head.status,
          () => 0, // the connection was closed, which is an answer to what is no HTTP
        );
        if (status !== 0 && (status < 400 || status > 499)) result.lost.push(`${name} got ${status}`);
      }
      if (performance.now() - sentMs > HANGS_MS) result.lost.push(`${name} got no answer`);
      wire.leave();
    }
  }

  private async speak(asked: Case, firstMs: number[]): Promise<void> {
    try {
      while (!(await this.tryToSpeak(asked, firstMs))) {
        this.result.refused++;
        await Bun.sleep(RETRY_MS);
      }
    } catch (error) {
      this.result.lost.push(`${keyOf(asked)} (${asked.manner}): ${(error as Error).message}`);
    }
  }

  /** @returns false where the server asks to come again */
  private async tryToSpeak(asked: Case, firstMs: number[]): Promise<boolean> {
    const { format, isSse, leavesAt, manner, seed, text } = asked;
    const body = { input: text, seed, response_format: format, ...(isSse ? { stream_format: "sse" } : {}) };
    const isGoing = manner === "vanishing";
    if (isGoing && leavesAt < 0) {
      const early = this.server.speak(body);
      early.catch(() => {});
      await Bun.sleep(SLOW_MS);
      void early.then(({ wire }) => wire.leave());
      this.result.left++;
      return true;
    }
    const { head, startMs, wire } = await this.server.speak(body);
    try {
      if (head.status === 503 || head.status === 429) return !head.headers.has("retry-after");
      if (head.status !== 200) throw new Error(`status ${head.status}`);
      const { atMs, sound } = await this.read(wire, head, asked);
      if (isGoing) this.result.left++;
      else this.judge(asked, isSse ? soundOfEvents(sound) : sound);
      firstMs.push(atMs - startMs);
      return true;
    } finally {
      wire.leave();
    }
  }

  private async read(wire: Wire, head: Head, { leavesAt, manner }: Case) {
    const parts: Uint8Array[] = [];
    let [atMs, bytes] = [0, 0];
    for await (const part of wire.body(head)) {
      if (bytes === 0) atMs = performance.now();
      bytes += part.length;
      parts.push(Buffer.from(part));
      if (manner === "vanishing" && bytes > leavesAt) break;
      if (manner === "slow") await Bun.sleep(SLOW_MS);
    }
    return { atMs, sound: Buffer.concat(parts) };
  }

  private judge(asked: Case, sound: Buffer): void {
    this.result.whole++;
    const expected = this.expected.get(keyOf(asked))!;
    if (sound.equals(expected)) return;
    const name = `${keyOf(asked)}${asked.isSse ? " (events)" : ""}`;
    this.result.mixedUp.push(`${name}: ${sound.length} bytes, not ${expected.length} of the command line`);
  }
}

/** @throws Error where the last event does not say that all is done */
function soundOfEvents(bytes: Buffer): Buffer {
  const events = bytes
    .toString()
    .split("\n\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line.replace(/^data: /, "")));
  if (events.at(-1)?.type !== "speech.audio.done") throw new Error("the events end early");
  return Buffer.concat(
    events.filter(({ audio }) => audio !== undefined).map(({ audio }) => Buffer.from(audio, "base64")),
  );
}

export const summaryOf = (ms: readonly number[]) =>
  `p50 ${quantile(ms, 0.5).toFixed(0)} ms, p95 ${quantile(ms, 0.95).toFixed(0)} ms (${ms.length})`;
