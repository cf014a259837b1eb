// Single stages without the others and without rings between threads: for a process that hosts one stage for other programs. Everything here
// is synchronous and belongs to the calling thread; nothing is allocated per frame. Knows nothing of who asks, or how.

import { monotonicMs } from "../../ffi/libc.ts";
import { openBackend, openTokenizer, PREDICTORS, TALKERS, VOCODERS } from "../backends/index.ts";
import type { Chances, Draw, OnOpening, Opened, OpenOptions, Predictor, Talker, Tokenizer, Vocoder } from "../backends/stage.ts";
import { type Config, VOCODER_CHUNK_FRAMES } from "../config.ts";
import type { Bundle } from "../formats/bundle.ts";
import { Sampler } from "../sampler.ts";
import { Embedder } from "../stages/embed.ts";
import { Prefill } from "../stages/prefill.ts";
import { modelIdentity } from "../stages/prompt-cache.ts";
import { createTimelineMemory, Track } from "../stages/timeline.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME, type SamplerSettings } from "../types.ts";
import { type SpeakJob, streamsOf } from "./messages.ts";
import { promptOf } from "./sentence.ts";

/** In place of a code 0: the sentence is over. */
export const ENDED = -1;
/** Here every sentence is the first of its text. */
const STREAMS = streamsOf(0);

/** A sentence without a cloned voice: the vocoder of another process could not hear its reference. */
export type HostedSentence = Omit<SpeakJob, "job" | "stream" | "reference">;

/** What a stage tells its process' keeper while nothing else can: all here blocks the thread. */
export interface Signs {
  readonly opening: OnOpening;
  /** Called between the pieces of long work. */
  readonly alive: () => void;
}

const openOptions = (bundle: Bundle, config: Config, { opening }: Signs): OpenOptions => ({
  bundle,
  config,
  onOpening: opening,
  lanes: config.lanes,
  stop: new SharedArrayBuffer(2),
  loadTurn: new Int32Array(new SharedArrayBuffer(4)),
});

/** The talker, fed by somebody else. Its lanes go on one by one, each when its next input is there. */
export class HostedTalker {
  readonly opened: Opened<Talker>;
  /** Width of its inputs and hidden states. */
  readonly hidden: number;
  private readonly talker: Talker;
  private readonly tokenizer: Tokenizer;
  private readonly embedder: Embedder;
  private readonly prefill: Prefill;
  private readonly samplers: Sampler[];
  private readonly eos: number;
  /** Of each lane's sentence. */
  private readonly frames: Int32Array;
  private readonly maxFrames: Int32Array;
  /** Frames that were asked for. */
  private readonly wanted: Int32Array;
  /** The lane of a step. Lanes never share one: with some weights a row's rounding would depend on who else is there. */
  private readonly stepLane = new Int32Array(1);
  private readonly result: Float32Array; // [hidden]
  private readonly logits: Float32Array; // [codec vocabulary]

  /** @throws TtsError as opening a talker does */
  constructor(
    private readonly bundle: Bundle,
    private readonly config: Config,
    signs: Signs,
  ) {
    const { cacheDir, lanes, prefixCache: choice } = config;
    const { codecVocabulary, codes, hidden } = bundle.manifest.shape;
    const options = openOptions(bundle, config, signs);
    const identity = modelIdentity(bundle);
    this.tokenizer = openTokenizer(options);
    this.embedder = new Embedder(bundle);
    this.opened = openBackend(TALKERS, "auto", options);
    this.talker = this.opened.stage;
    this.hidden = hidden;
    this.eos = bundle.manifest.prompt.codec.eos;
    this.samplers = Array.from({ length: lanes }, () => new Sampler({ size: codecVocabulary, codes, eos: this.eos }));
    this.frames = new Int32Array(lanes);
    this.maxFrames = new Int32Array(lanes);
    this.wanted = new Int32Array(lanes);
    this.result = new Float32Array(new SharedArrayBuffer(4 * hidden));
    this.logits = new Float32Array(new SharedArrayBuffer(4 * codecVocabulary));
    const track = new Track(createTimelineMemory().talker);
    const results = { hidden: this.result, logits: this.logits };
    this.prefill = new Prefill({ talker: this.talker, track, ...results, onPiece: signs.alive, choice, cacheDir, identity });
  }

  /**
   * Starts a sentence in a lane, whatever was in it. `hidden` f32 [hidden] gets the first frame's hidden state.
   * @param alone whether no other lane is busy
   * @returns the first frame's code 0, or {@link ENDED}
   * @throws TtsError TEXT_TOO_LONG
   */
  begin(lane: number, sentence: HostedSentence, alone: boolean, hidden: Float32Array): number {
    const startMs = monotonicMs();
    const prompt = promptOf(this.bundle, this.tokenizer, { ...sentence, reference: null });
    const count = prompt.rows.length;
    const rows = this.embedder.prompt(prompt.rows, { xVector: null, codes: null });
    this.prefill.fill(lane, { rows, count, prefixRows: prompt.prefixRows, lasting: false, alone }, startMs);
    this.samplers[lane].reset(sentence.sampling.talker, sentence.seed, STREAMS.talker);
    this.frames[lane] = 0;
    this.wanted[lane] = sentence.maxFrames;
    this.maxFrames[lane] = Math.min(sentence.maxFrames, this.config.contextPositions - count - 1);
    return this.maxFrames[lane] > 0 ? this.draw(lane, hidden) : ENDED;
  }

  /**
   * Takes the complete next input of a lane, f32 [hidden] in shared memory, that its last frame has led to.
   * @returns as {@link begin}
   */
  next(lane: number, input: Float32Array, hidden: Float32Array): number {
    if (++this.frames[lane] >= this.maxFrames[lane]) return ENDED;
    this.stepLane[0] = lane;
    this.talker.step(this.stepLane, 1, input, this.result, this.logits);
    return this.draw(lane, hidden);
  }

  /** Whether the last sentence of a lane had to end because there is memory for no more. */
  lacksMemory(lane: number): boolean {
    return this.frames[lane] >= this.maxFrames[lane] && this.maxFrames[lane] < this.wanted[lane];
  }

  private draw(lane: number, hidden: Float32Array): number {
    hidden.set(this.result);
    const code0 = this.samplers[lane].draw(this.logits);
    return code0 === this.eos ? ENDED : code0;
  }

  /** A piece of what the cache of prompts has to do, for a moment without sentences. @returns false when there is nothing left */
  tidy(): boolean {
    return this.prefill.tidy();
  }
}

/** The code predictor, frame by frame. */
export class HostedPredictor {
  readonly opened: Opened<Predictor>;
  private readonly predictor: Predictor;
  private readonly settings: SamplerSettings;
  private readonly codes: number;
  private readonly idle: Sampler[] = [];
  /** Of the frame under way. */
  private sampler: Sampler | null = null;
  private readonly draw: Draw = (_row, _group, logits) => this.sampler!.draw(logits);
  private readonly chances: Chances = {
    settings: () => this.sampler!.settings,
    noise: (_row, target) => this.sampler!.noise(target),
  };

  /** @throws TtsError as opening a code predictor does */
  constructor(bundle: Bundle, config: Config, signs: Signs) {
    const { predictorMs, sampling, shape } = bundle.manifest;
    this.codes = shape.codes;
    this.settings = { ...sampling.predictor, repetitionPenalty: 1 };
    const options = { ...openOptions(bundle, config, signs), lanes: 1 };
    this.opened = openBackend(PREDICTORS, config.predictor, options, predictorMs);
    this.predictor = this.opened.stage;
  }

  /** A timeline of draws, with the model's settings. */
  takeSampler(seed: number): Sampler {
    const sampler = this.idle.pop() ?? new Sampler({ size: this.codes, codes: this.codes, eos: -1 });
    sampler.reset(this.settings, seed, STREAMS.predictor);
    return sampler;
  }

  returnSampler(sampler: Sampler): void {
    this.idle.push(sampler);
  }

  /** `hidden` f32 [hidden] in shared memory; `codes` i32 [16] holds code 0 and gets the others. */
  predict(hidden: Float32Array, codes: Int32Array, sampler: Sampler): void {
    this.sampler = sampler;
    this.predictor.predict(1, hidden, codes, this.draw, this.chances);
  }
}

/** The vocoder, chunk by chunk; the same chunks as in the pipeline, so the same bytes. */
export class HostedVocoder {
  readonly opened: Opened<Vocoder>;
  private readonly vocoder: Vocoder;
  private readonly codes = new Int32Array(VOCODER_CHUNK_FRAMES * CODES_PER_FRAME);
  private readonly samples = new Float32Array(new SharedArrayBuffer(4 * VOCODER_CHUNK_FRAMES * SAMPLES_PER_FRAME));
  /** The samples of chunks of 0, 1, 2 ... frames. */
  private readonly views = Array.from({ length: VOCODER_CHUNK_FRAMES + 1 }, (_, i) => this.samples.subarray(0, i * SAMPLES_PER_FRAME));

  /** @throws TtsError as opening a vocoder does */
  constructor(bundle: Bundle, config: Config, signs: Signs) {
    this.opened = openBackend(VOCODERS, config.vocoder, openOptions(bundle, config, signs));
    this.vocoder = this.opened.stage;
  }

  /** Lets a lane forget what it has heard. */
  begin(lane: number): void {
    this.vocoder.reset(lane);
  }

  /** Frames of chunk number `chunk` since {@link begin}, while `left` are left. */
  chunkFrames(chunk: number, left: number): number {
    const { chunks } = this.vocoder;
    return Math.min(left, chunks[Math.min(chunk, chunks.length - 1)]);
  }

  /** `frames` frames of `codes` i32 [all, 16] from frame `from` on -> f32 [frames * 1920], valid until the next call. */
  decode(lane: number, codes: Int32Array, from: number, frames: number): Float32Array {
    const first = from * CODES_PER_FRAME;
    for (let i = 0; i < frames * CODES_PER_FRAME; i++) this.codes[i] = codes[first + i];
    this.vocoder.decode(lane, this.codes, frames, this.samples);
    return this.views[frames];
  }
}
