// What tests of renders share: an engine that makes sound from nothing but the text, boards and books.

import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { SpeakOptions, Speech } from "../../src/engine.ts";
import { TtsError } from "../../src/errors.ts";
import { connectHub, type Hub } from "../../src/fleet/hub.ts";
import { jobOf } from "../../src/fleet/render/job.ts";
import type { Renderer } from "../../src/fleet/render/make.ts";
import { Render, type RenderRequest } from "../../src/fleet/render/render.ts";
import { sectionsOf } from "../../src/fleet/render/sections.ts";
import { Shelf } from "../../src/fleet/render/shelf.ts";
import { RenderWorker, type WorkPlace } from "../../src/fleet/render/worker.ts";
import { RENDER_LIMITS, type RenderLimits } from "../../src/limits.ts";
import { scratchFolder } from "../_support.ts";

export const KIND = "0123456789abcdef";
/** Waits that would make tests slow. */
export const LIMITS: RenderLimits = {
  ...RENDER_LIMITS,
  ...{ boardMs: 20_000, staleMs: 1_000, lookMs: 100, pollMs: 50, restMs: 20, pullMs: 1_000 },
};
const SECTION_BYTES = 400;

export const BOOK = Array.from(
  { length: 30 },
  (_, i) => `This is sentence ${i}.${i % 10 === 9 ? "\n\n" : " "}`,
).join("");
const sentencesOf = (text: string) => text.match(/[^.]+\./g)!.map((one) => one.trim());

/** Each sentence has a sound of its own, which its section, its number and its seed decide. */
function soundOf(text: string, sentence: number, seed: number): Float32Array {
  const letters = sentencesOf(text)[sentence];
  return Float32Array.from({ length: 50 + letters.length }, (_, i) => ((seed + i) % 97) / letters.length);
}

/** All of a book, as one machine makes it. */
export function wholeSound(seed = 7): number[] {
  return sectionsOf(BOOK, SECTION_BYTES).flatMap(({ text }, k) =>
    sentencesOf(text).flatMap((_, i) => [...soundOf(text, i, seed + k)]),
  );
}

/** Speaks at once, or after a while; some sentences it cannot, or has no room for all of them. */
export class TestEngine implements Renderer {
  /** Sentences made so far. */
  made = 0;

  constructor(
    private readonly afterMs = 0,
    private readonly fails: (sentence: string) => boolean = () => false,
    private readonly cuts: (sentence: string) => boolean = () => false,
  ) {}

  speak(text: string, { seed = 0, sentences, signal }: SpeakOptions): Speech {
    const { from } = sentences!;
    const isFaulty = this.fails(sentencesOf(text)[from]);
    const stop = this.cuts(sentencesOf(text)[from]) ? "length" : "eos";
    const chunks = async function* (this: TestEngine) {
      await Bun.sleep(this.afterMs);
      if (isFaulty) throw new TtsError("TEXT_TOO_LONG", "this sentence has no room");
      if (signal?.aborted !== true) yield { samples: soundOf(text, from, seed) };
      this.made++;
    };
    const summary = () => ({ frames: 1, repairs: [], stop: signal?.aborted === true ? "cancelled" : stop });
    return { [Symbol.asyncIterator]: chunks.bind(this), summary } as unknown as Speech;
  }
}

export const SILENT = { info() {}, warn() {}, debug() {} };

/** @param port of a hub at this machine, which must answer soon */
export async function enter(port: number, name: string): Promise<Hub> {
  const access = { user: "", password: "", credentials: "", ca: "", certificate: "", key: "" };
  const hub = await connectHub({ ...access, url: `nats://127.0.0.1:${port}` }, { name, patient: "later" });
  const soon = { timeout: 700 };
  const { connection } = hub;
  return { ...hub, streams: jetstream(connection, soon), manager: await jetstreamManager(connection, soon) };
}

/** A board that renders until it is stopped. */
export function boardOn(
  hub: Hub,
  board: string,
  engine: Renderer,
  place: Partial<WorkPlace> = {},
): RenderWorker {
  const usual = { isUrgent: () => false, count() {}, fault() {}, tell: SILENT, engine: async () => engine };
  const worker = new RenderWorker(hub, { ...usual, board, kind: KIND, lanes: 1, ...place }, LIMITS);
  worker.start();
  return worker;
}

export const newShelves = () => mkdtempSync(join(scratchFolder(), "shelves-"));

interface Rendering extends Partial<RenderRequest> {
  home?: string;
  seed?: number;
  /** Called after each sentence that was joined. */
  onSentence?: (count: number) => void | Promise<void>;
}

/** Renders the book. */
export async function rendered({ home = newShelves(), onSentence, seed = 7, ...request }: Rendering = {}) {
  const job = jobOf(KIND, sectionsOf(BOOK, SECTION_BYTES), { seed });
  const shelf = new Shelf(home, job.id);
  const render = new Render({
    ...{ job, shelf, engine: new TestEngine(), lanes: 1, hub: null, tell: SILENT, limits: LIMITS },
    read: (section) => sentencesOf(job.sections[section].text),
    strangers: async () => [],
    signal: new AbortController().signal,
    ...request,
  });
  const sound: number[] = [];
  let count = 0;
  for await (const samples of render.sound()) {
    sound.push(...samples);
    if (samples.length > 0) await onSentence?.(++count);
  }
  shelf.remove();
  return { sound, outcome: render.outcome, job };
}
