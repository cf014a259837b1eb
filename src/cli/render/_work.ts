// The work of tts render: what is rendered, by whom, and into which file.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { seedOf } from "../../announce/phrases.ts";
import { StartTrimmer } from "../../audio/onset.ts";
import { loadConfig } from "../../config.ts";
import { sentenceReader } from "../../engine/preview.ts";
import { checkRequest } from "../../engine/request.ts";
import type { Engine } from "../../engine.ts";
import { asTtsError, TtsError } from "../../errors.ts";
import { listBoards } from "../../fleet/directory.ts";
import { type Job, jobOf, optionsOf } from "../../fleet/render/job.ts";
import { Render } from "../../fleet/render/render.ts";
import { type Section, sectionsOf } from "../../fleet/render/sections.ts";
import { lockOf, Shelf } from "../../fleet/render/shelf.ts";
import { loadServer } from "../../fleet/settings.ts";
import { withLock } from "../../io/lock.ts";
import { readTextFile } from "../../io/read.ts";
import { LIMITS, RENDER_LIMITS } from "../../limits.ts";
import { spokenLength } from "../../text/spoken-length.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import { assertSound, openEngine } from "../shared/engine.ts";
import { enterFleet, nameOf, type WayIn } from "../shared/fleet-options.ts";
import { kindOf } from "../shared/kind.ts";
import { clearProgress, duration, log, showProgress, TELL } from "../shared/log.ts";
import { number } from "../shared/options.ts";
import { type PhraseBase, type PhraseOptions, readPhraseBase } from "../shared/phrases.ts";
import { deliverSound, needsLevel, type Outlet, type SoundOutput } from "../shared/sound-output.ts";
import { extraPositions, readSpeakOptions, warnUnread } from "../shared/speak-options.ts";
import { readVoice } from "../shared/voice.ts";
import type { RenderValues } from "./_options.ts";
import { report } from "./_report.ts";

const PROGRESS_MS = 300;

/** A book and its voice. */
export interface Order {
  sections: readonly Section[];
  options: PhraseOptions & { seed: number };
  base: PhraseBase;
}

/** @throws TtsError as reading, and as speaking it would */
export async function readOrder(args: RenderValues, path: string): Promise<Order> {
  const voice = await readVoice(args.voice);
  const given = { ...readSpeakOptions(args), voice };
  const book = await readTextFile(path, RENDER_LIMITS.bookBytes);
  const sections = sectionsOf(book, LIMITS.textBytes);
  if (sections.length < 2) checkRequest(book, given);
  else for (const { text } of sections) orNothing(() => checkRequest(text, given));
  const options = { ...given, seed: given.seed ?? seedOf(book) };
  return { sections, options, base: await readPhraseBase(args, given) };
}

/** A part of a book may have nothing to say. */
function orNothing<T>(work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (error instanceof TtsError && error.code === "TEXT_EMPTY") return null;
    throw error;
  }
}

/** As tts opens it for the same text, so that the same sentences find room. */
export function openFor({ base, options, sections }: Order, args: RenderValues): Promise<Engine> {
  const { lexicon, machine, model } = base;
  const { greedy, maxFrames, sampling } = options;
  const sentences = Math.ceil(spokenLength(sections[0].text) / LIMITS.promptChars);
  const lanes = number(args, "lanes");
  const opened = { model, lexicon, sentences, lanes, greedy, sampling, ...machine };
  return openEngine(opened, maxFrames, extraPositions(options));
}

export function jobFor({ base, options, sections }: Order, engine: Engine): Job {
  // it is not spoken, but resolves and checks the settings
  const { settings } = engine.speak(sections[0].text, { ...options, sentences: { from: 0, to: 1 } });
  const kind = kindOf(base, engine);
  return jobOf(kind, sections, optionsOf(settings, options.voice, options.watch));
}

/** The sentences of a section; what the voice cannot read is told of once. */
export async function readerFor({ base, options, sections }: Order): Promise<(section: number) => string[]> {
  const config = loadConfig(base.machine);
  const read = await sentenceReader(base.bundle, options, { config, lexicon: base.lexicon });
  const told = new Set<string>();
  const unknown = (losses: readonly string[]) => losses.filter((one) => !told.has(one) && told.add(one));
  return (section) => {
    const { text } = sections[section];
    const reading = sections.length < 2 ? read(text) : orNothing(() => read(text));
    if (reading === null) return [];
    warnUnread({ ignored: unknown(reading.ignored), unread: unknown(reading.unread) });
    return reading.sentences;
  };
}

/** The hub, or null where none is named or none is there, which is told. */
export async function enter(url: string | undefined): Promise<WayIn | null> {
  if (loadServer("fleet", url) === null) return null;
  try {
    return await enterFleet(url, `render-${nameOf({ name: undefined })}`, { patient: "later", tell: TELL });
  } catch (error) {
    const fault = asTtsError(error);
    if (fault.code !== "FLEET_UNREACHABLE" && fault.code !== "FLEET_REFUSED") throw error;
    TELL.warn(`${fault.inOneLineWith(fault.markedHint)}. This machine speaks`);
    return null;
  }
}

/** One process at a time renders a book; a cache that cannot be written keeps none apart. */
export async function inTurn<T>(home: string, job: string, work: () => Promise<T>): Promise<T> {
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 });
  } catch {
    return work();
  }
  const tell = (pid: number) => log.info(`process ${pid} renders this book: waiting for it`);
  return withLock(lockOf(home, job), tell, work);
}

interface Rendering {
  order: Order;
  job: Job;
  engine: Engine;
  output: SoundOutput;
  /** Whether silence at the start is left out. */
  trims: boolean;
  fleet: WayIn | null;
  signal: AbortSignal;
}

export async function renderInto(rendering: Rendering): Promise<void> {
  const { engine, fleet, job, order, output, signal } = rendering;
  const shelf = new Shelf(join(order.base.cacheDir, "render"), job.id);
  const render = new Render({
    ...{ job, shelf, engine, signal, tell: TELL },
    read: await readerFor(order),
    lanes: engine.config.lanes,
    hub: fleet?.hub ?? null,
    strangers: () => (fleet === null ? Promise.resolve([]) : strangersIn(fleet, job.kind)),
  });
  if (render.foundBefore > 0) log.info(`sentences from an earlier run: ${render.foundBefore}`);
  const startMs = performance.now();
  const heard = await deliverSound(output, async (outlet) => {
    if (needsLevel(output)) await output.level.learn(engine, order.options);
    await pour(render, outlet, rendering.trims ? new StartTrimmer() : null);
    return outlet.heard;
  });
  shelf.remove();
  const facts = { audioSeconds: heard.seconds, wallSeconds: (performance.now() - startMs) / 1000 };
  await report(render.outcome, output, { ...facts, seed: order.options.seed, model: engine.manifest.name });
}

/** Boards that speak, but not as this machine would. */
async function strangersIn({ clock, hub }: WayIn, kind: string): Promise<string[]> {
  const boards = await listBoards(hub, clock.nowMs());
  return boards.filter((board) => board.kind !== null && board.kind !== kind).map(({ name }) => name);
}

/** @throws TtsError TEXT_EMPTY where nothing sounds */
async function pour(render: Render, { sink }: Outlet, trimmer: StartTrimmer | null): Promise<void> {
  const { course, outcome } = render;
  const timer = setInterval(() => {
    const { done, secondsLeft, total } = course;
    const left = secondsLeft === undefined ? "" : `, ${duration(secondsLeft)} left`;
    showProgress(`${render.finished} sentences${left}`, done, total);
  }, PROGRESS_MS);
  let written = 0;
  try {
    for await (const sound of render.sound()) {
      const samples = trimmer === null ? sound : trimmer.push(sound);
      if (samples.length > 0) await sink.write(samples);
      written += samples.length;
    }
  } finally {
    clearInterval(timer);
    clearProgress();
  }
  assertSound({ frames: outcome.frames, audioSeconds: written / SAMPLE_RATE_HZ });
}
