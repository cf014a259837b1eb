// An open model: the crew of its stages, and the calls that programs make. The door (src/engine.ts) documents
// them.

import { monotonicMs } from "../../ffi/libc.ts";
import { type Config, LIMITS, lanesFor, loadConfig, threadsFor } from "../config.ts";
import { TtsError } from "../errors.ts";
import { type Bundle, damageOf, type Manifest } from "../formats/bundle.ts";
import { assertCodes } from "../formats/codes.ts";
import { assertNpuFolder } from "../formats/npu-folder.ts";
import { isCached } from "../models/cache.ts";
import { resolveModel } from "../models/resolve.ts";
import { runErrand } from "../pipeline/errand.ts";
import { PREDICTOR_HAS_IT } from "../pipeline/mailbox.ts";
import { createSharedMemory, type EncodeJob } from "../pipeline/messages.ts";
import { Signals } from "../pipeline/signals.ts";
import { assertWhole } from "../ranges.ts";
import { assertDrawable } from "../sampler.ts";
import type { EncodedReference } from "../stages/encoder.ts";
import { Timeline } from "../stages/timeline.ts";
import { assertSayable, Lexicon } from "../text/lexicon.ts";
import { CODES_PER_FRAME, SAMPLE_RATE_HZ, STAGES, type StageName } from "../types.ts";
import { Crew, type OpeningStep } from "./crew.ts";
import { DecodedSpeech } from "./decoded-speech.ts";
import { Jobs } from "./jobs.ts";
import { readLexicons } from "./lexicon.ts";
import {
  checkArgument,
  checkOptions,
  checkVoiceType,
  type HostOptions,
  type SpeakRequest,
} from "./options.ts";
import { loadRules, type ReadingRules } from "./read-text.ts";
import { checkRequest, prepareVoice, withSampling } from "./request.ts";
import type { SoundRequest, SpeechHost } from "./sounding.ts";
import { ALL_SENTENCES, type SentenceRange, SpokenSpeech } from "./speech.ts";
import { KnownTexts, textInPieces, wholeText } from "./text-source.ts";
import { loudnessOf, voiceOptions } from "./voice-loudness.ts";

/** A whole text, or one that comes in pieces. */
export type Text = string | AsyncIterable<string> | Iterable<string>;

const STAGES_FOR: Record<NonNullable<HostOptions["use"]>, readonly StageName[]> = {
  speak: STAGES,
  decode: ["vocoder"],
  encode: [],
};

/** @throws TtsError MODEL_UNKNOWN, CHECKPOINT_INVALID, BUNDLE_INVALID, NPU_*, LIBRARY_*, USAGE */
export async function openHost(given: HostOptions): Promise<EngineHost> {
  checkOptions("open", given);
  assertWhole("sentences", given.sentences ?? 1, 0, Number.MAX_SAFE_INTEGER);
  const first = checkedFirst(given);
  const options = { ...given, first };
  const general = loadConfig(options);
  assertNpuFolder(general);
  const isToSpeak = (options.use ?? "speak") === "speak";
  const words = isToSpeak
    ? await readLexicons(general.configDir, options.lexicon)
    : { given: [], lexicon: new Lexicon() };
  const everyByte = options.use === "encode"; // the encoders are opened later, when nothing can be mended
  const startMs = monotonicMs();
  const resolved = await resolveModel({ everyByte, ...options, config: general });
  try {
    return await startHost(resolved, general, options, words, startMs);
  } catch (error) {
    const damage = damageBehind(error, resolved, general);
    if (damage === null) throw error;
    const again = await resolveModel({ ...options, config: general, damage });
    return startHost(again, general, options, words, startMs);
  }
}

/** A copy of what is spoken first, so that later changes of the caller's do not count. @throws TtsError */
function checkedFirst({ first, use = "speak" }: HostOptions): HostOptions["first"] {
  if (first === undefined) return undefined;
  const { options = {}, text } = { ...first };
  if (typeof text !== "string") throw new TtsError("USAGE", "open: first has no text", "give a string");
  if (use !== "speak")
    throw new TtsError("USAGE", `open: first is spoken, but use is "${use}"`, "leave one out");
  if (options.voice !== undefined) checkVoiceType("open", options.voice);
  checkRequest(text, options);
  return { text, options: { ...options } };
}

/** @throws TtsError USAGE for one without a sentence */
function rangeOf({ from, to }: SentenceRange = ALL_SENTENCES): SentenceRange {
  assertWhole("the first sentence", from, 0, Number.MAX_SAFE_INTEGER - 1);
  if (to !== ALL_SENTENCES.to) assertWhole("the end of the sentences", to, from + 1, Number.MAX_SAFE_INTEGER);
  return { from, to };
}

/** What is wrong with a bundle of the cache; null where making it again would not help. */
function damageBehind(error: unknown, bundle: Bundle, { cacheDir }: Config): string | null {
  if (!(error instanceof TtsError) || !isCached(bundle, cacheDir)) return null;
  if (error.code === "BUNDLE_INVALID") return error.message;
  return error.code === "LIBRARY_FAILED" || error.code === "STAGE_DIED" ? damageOf(bundle) : null;
}

async function startHost(
  resolved: Bundle,
  general: Config,
  options: HostOptions,
  { given, lexicon }: Awaited<ReturnType<typeof readLexicons>>,
  startMs: number,
): Promise<EngineHost> {
  const bundle = withSampling(resolved, options);
  const { reading, shape, weights } = bundle.manifest;
  const { predictor, talker } = resolved.manifest.sampling;
  for (const pronunciation of given) assertSayable(pronunciation, reading !== null);
  const config = Object.freeze({
    ...general,
    ...(options.threads === undefined ? threadsFor(shape.hidden, general) : {}),
    lanes: options.lanes ?? lanesFor(weights, options.sentences ?? 1),
  });
  const host = new EngineHost(bundle, config, lexicon, { predictor, talker });
  host.note("bundle", startMs);
  try {
    await host.start(STAGES_FOR[options.use ?? "speak"], options.first);
  } catch (error) {
    await host.close();
    throw error;
  }
  return host;
}

export class EngineHost implements SpeechHost {
  readonly manifest: Manifest;
  readonly timeline: Timeline;
  readonly signals: Signals;
  readonly jobs: Jobs;
  private readonly crew: Crew;
  /** The speech that began while the engine opened, or null. */
  first: SpokenSpeech | null = null;
  /** Of an engine that speaks. */
  private rules: ReadingRules | null = null;
  private readonly closing = new AbortController();
  private closed: Promise<void> | null = null;
  private readonly known = new KnownTexts();
  /** Speeches so far whose sentences are spoken one by one. */
  private numbered = 0;

  constructor(
    private readonly bundle: Bundle,
    readonly config: Config,
    private readonly lexicon: Lexicon,
    /** The model's own, whatever the engine was opened with. */
    private readonly ownSampling: SpeakRequest["sampling"],
  ) {
    const memory = createSharedMemory(config.lanes, bundle.manifest.shape.hidden);
    this.manifest = bundle.manifest;
    this.signals = new Signals(memory.signals);
    this.timeline = new Timeline(memory.timeline);
    const send = (stage: StageName) => (message: unknown) => this.crew.send(stage, message);
    this.jobs = new Jobs(memory, this.signals, { talker: send("talker"), vocoder: send("vocoder") });
    this.crew = new Crew({
      ...{ bundle, config, memory, signals: this.signals, timeline: this.timeline },
      onJobFailed: (job, error) => this.jobs.fail(job, error),
      owes: (stage) => this.owes(stage),
    });
  }

  /** @param first what to begin with while the vocoder still opens */
  async start(stages: readonly StageName[], first?: HostOptions["first"]): Promise<void> {
    const startMs = monotonicMs();
    const ready = this.crew.start(stages); // before the rules, which are loaded while the stages open
    this.note("threads started", startMs);
    const rules = stages.includes("talker") ? this.loadRules() : null;
    const all = Promise.all([...ready.values(), rules]);
    all.catch(() => {}); // it is awaited below, unless something else fails first
    if (first !== undefined) {
      [this.rules] = await Promise.all([rules, ready.get("talker"), ready.get("predictor")]);
      this.first = this.begin(first.text, first.options, true);
      this.first.begin();
    }
    this.rules = await rules;
    await all;
    this.note("open", startMs);
  }

  private async loadRules(): Promise<ReadingRules> {
    const startMs = monotonicMs();
    const rules = await loadRules(this.bundle);
    this.note("reading rules", startMs);
    return rules;
  }

  /** Notes that this thread has taken the time since `startMs` for something. */
  note(what: string, startMs: number): void {
    this.crew.opening.push({ thread: "engine", what, startMs, endMs: monotonicMs() });
  }

  get opening(): readonly OpeningStep[] {
    return this.crew.opening;
  }

  get backends(): Readonly<Record<string, string>> {
    return this.crew.backends;
  }

  get warnings(): string[] {
    return this.crew.warnings;
  }

  get failure(): TtsError | null {
    return this.crew.failure;
  }

  get modelName(): string {
    return this.manifest.name;
  }

  get lanes(): number {
    return this.config.lanes;
  }

  wait(seen: number): Promise<void> {
    return this.crew.wait(seen);
  }

  /** Whether a stage has work that waits for no other stage. */
  private owes(stage: StageName): boolean {
    if (!this.crew.isReady(stage)) return false; // opening has a patience of its own
    const predictorHasIt = this.crew.has("predictor") && this.signals.turn === PREDICTOR_HAS_IT;
    if (stage === "predictor") return predictorHasIt;
    if (stage === "vocoder") return this.jobs.vocoderOwes;
    // Too few frames for a chunk wait for the talker, not for the vocoder.
    return this.jobs.isSpeaking && !predictorHasIt && !this.jobs.vocoderHoldsUpTalker;
  }

  speak(text: Text, request: SpeakRequest = {}): SpokenSpeech {
    return this.begin(text, request, false);
  }

  /** @param atOnce whether a whole text is read at once, however long it is: nobody else is held up yet */
  private begin(text: Text, request: SpeakRequest = {}, atOnce: boolean): SpokenSpeech {
    this.assertUsable("talker");
    checkArgument("speak", "text", text);
    checkOptions("speak", request);
    const { priority = 0, sentences, sideBySide = true, signal, trimStart, watch, ...options } = request;
    if (options.voice !== undefined) checkVoiceType("speak", options.voice);
    assertWhole("the priority", priority, -LIMITS.priority, LIMITS.priority);
    const range = rangeOf(sentences);
    const { message, settings } = prepareVoice(this.bundle, options);
    const { drawLimits } = this.crew;
    if (drawLimits !== null)
      assertDrawable(message.sampling.predictor, drawLimits, this.manifest.shape.codes);
    const { bundle, lexicon } = this;
    const context = { bundle, settings, lexicon, rules: this.rules! };
    const onNews = () => this.signals.ring("main");
    const source =
      typeof text !== "string"
        ? textInPieces(text, context, onNews)
        : sentences === undefined
          ? wholeText(text, context, atOnce, onNews)
          : this.known.take(text, context, onNews);
    const oneByOne = sideBySide ? 0 : ++this.numbered;
    const sound = { signal, trimStart: trimStart && range.from === 0, watch, range };
    return new SpokenSpeech(this, source, settings, message, priority, oneByOne, sound);
  }

  decode(codes: Int32Array, options: SoundRequest = {}): DecodedSpeech {
    this.assertUsable("vocoder");
    checkArgument("decode", "codes", codes);
    checkOptions("decode", options);
    if (codes.length % CODES_PER_FRAME !== 0) {
      throw new TtsError(
        "CODES_INVALID",
        `${codes.length} codes are no whole number of frames`,
        `every frame has ${CODES_PER_FRAME}`,
      );
    }
    assertCodes(codes, this.manifest.shape.codes, { hint: "was it made with another model?" });
    return new DecodedSpeech(this, codes, options);
  }

  async loudness(request: SpeakRequest = {}, onMeasure: () => void = () => {}): Promise<number> {
    this.assertUsable("talker");
    checkOptions("loudness", request);
    checkArgument("loudness", "onMeasure", onMeasure);
    const { signal, voice } = request;
    if (voice !== undefined) checkVoiceType("loudness", voice);
    const { manifest } = this;
    const { cacheDir } = this.config;
    const options = voiceOptions(manifest, request);
    const prepared = prepareVoice(this.bundle, options);
    const sampling = this.crew.drawLimits === null ? this.ownSampling : undefined;
    return loudnessOf({ manifest, prepared, voice }, { cacheDir, onMeasure, signal }, (text, draw) =>
      this.speak(text, { ...options, ...draw, sampling, signal, priority: LIMITS.priority }),
    );
  }

  async encode(
    samples: Float32Array,
    tailSilenceSeconds: number,
    options: { signal?: AbortSignal } = {},
  ): Promise<EncodedReference> {
    this.assertOpen();
    checkArgument("encode", "samples", samples);
    checkArgument("encode", "tailSilenceSeconds", tailSilenceSeconds);
    checkOptions("encode", options);
    if (!(tailSilenceSeconds >= 0 && tailSilenceSeconds <= LIMITS.referenceTailSeconds))
      throw new TtsError(
        "USAGE",
        `the silence after the recording is ${tailSilenceSeconds} s`,
        `give 0 to ${LIMITS.referenceTailSeconds} s`,
      );
    const { name, prompt } = this.manifest;
    if (prompt.modelType !== "base")
      throw new TtsError(
        "MODEL_UNSUITABLE",
        `${name} cannot take a voice from a recording`,
        "use a Base model",
      );
    const forCodes = new Float32Array(samples.length + Math.round(tailSilenceSeconds * SAMPLE_RATE_HZ));
    forCodes.set(samples);
    const job: EncodeJob = { bundle: this.bundle, config: this.config, forCodes, forVector: samples };
    const signal = AbortSignal.any([
      this.closing.signal,
      ...(options.signal === undefined ? [] : [options.signal]),
    ]);
    return runErrand("encoder", job, { title: "the encoder", signal, timeoutMs: LIMITS.encodeTimeoutMs });
  }

  private assertOpen(): void {
    if (this.crew.failure !== null) throw this.crew.failure;
    if (this.closed !== null) throw new TtsError("CANCELLED", "the engine was closed");
  }

  private assertUsable(stage: StageName): void {
    this.assertOpen();
    if (!this.crew.has(stage))
      throw new TypeError(`this engine has no ${stage}: it was opened for something else`);
  }

  /** Iterations under way throw CANCELLED. */
  close(): Promise<void> {
    if (this.closed === null) {
      const failure = new TtsError("CANCELLED", "the engine was closed");
      this.crew.fail(failure);
      this.closing.abort(failure);
      this.closed = this.crew.end();
    }
    return this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
