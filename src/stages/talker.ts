// The talker: turns a sentence into a prompt, the prompt into a first frame, and each complete next input
// into another frame. Lanes are sentences side by side. Synchronous, without transport: threads and sockets
// move its data. Nothing is allocated per frame.

import { monotonicMs } from "../../ffi/libc.ts";
import { openBackend } from "../backends/open.ts";
import type { Opened, OpenOptions, Talker } from "../backends/stage.ts";
import { TALKERS } from "../backends/talker/index.ts";
import { Sampler } from "../sampler.ts";
import { openTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import type { StopReason } from "../types.ts";
import { Alignment } from "./alignment.ts";
import { Embedder, type VoiceVectors } from "./embed.ts";
import { Prefill, type TakenPrompt } from "./prefill.ts";
import { modelIdentity } from "./prompt-cache.ts";
import { type PlacedPrompt, promptOf, type Sentence, streamsOf } from "./sentence.ts";
import type { Track } from "./timeline.ts";

const NO_VOICE: VoiceVectors = { xVector: null, codes: null };

/** The sentence that a lane is busy with, or its last one. */
interface Line {
  prompt: PlacedPrompt;
  /** Frames that are complete. */
  frames: number;
  maxFrames: number;
  /** Frames that the sentence may have if memory allows. */
  wanted: number;
  /** Code 0 of the frame under way. */
  code0: number;
  /** Where in the text its sound comes from, or -1. */
  textAt: number;
  stop: StopReason | null;
}

export interface TalkerOptions extends OpenOptions {
  track: Track;
  /** Called after every piece of a prompt, as a sign of life. */
  onPiece: () => void;
}

export class TalkerStage {
  readonly opened: Opened<Talker>;
  /** Width of its inputs and hidden states. */
  readonly width: number;
  private readonly talker: Talker;
  private readonly tokenizer: Tokenizer;
  private readonly embedder: Embedder;
  private readonly prefill: Prefill;
  private readonly samplers: Sampler[];
  private readonly lines: (Line | null)[];
  private readonly alignments: Alignment[];
  /** f32 [hidden] per lane: the state that its frame under way is made from. */
  private readonly hidden: Float32Array[];
  private readonly stepHidden: Float32Array; // [lanes, hidden], packed
  private readonly stepRows: Float32Array[]; // its rows
  private readonly stepLogits: Float32Array; // [lanes, codec vocabulary], packed
  private readonly eos: number;
  private readonly textPad: number;

  /** @throws TtsError as opening a talker does */
  constructor(private readonly options: TalkerOptions) {
    const { bundle, config, lanes, onPiece, track } = options;
    const { codecVocabulary, codes, hidden } = bundle.manifest.shape;
    const { prompt } = bundle.manifest;
    const identity = modelIdentity(bundle);
    this.tokenizer = openTokenizer(bundle);
    this.embedder = new Embedder(bundle);
    this.opened = openBackend(TALKERS, config.talker, options, bundle.manifest.talkerMs); // last: it takes much memory
    this.talker = this.opened.stage;
    this.width = hidden;
    [this.eos, this.textPad] = [prompt.codec.eos, prompt.text.ttsPad];
    this.samplers = Array.from(
      { length: lanes },
      () => new Sampler({ size: codecVocabulary, codes, eos: this.eos }),
    );
    this.lines = Array.from({ length: lanes }, () => null);
    this.alignments = this.lines.map(() => new Alignment(config.contextPositions));
    const floats = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
    const rowsOf = (matrix: Float32Array) =>
      Array.from({ length: lanes }, (_, row) => matrix.subarray(row * hidden, (row + 1) * hidden));
    this.hidden = rowsOf(floats(lanes * hidden));
    this.stepHidden = floats(lanes * hidden);
    this.stepRows = rowsOf(this.stepHidden);
    this.stepLogits = floats(lanes * codecVocabulary);
    const results = { hidden: this.stepHidden, logits: this.stepLogits };
    const { cacheDir, prefixCache: choice } = config;
    this.prefill = new Prefill({
      talker: this.talker,
      track,
      ...results,
      onPiece,
      choice,
      cacheDir,
      identity,
    });
  }

  /**
   * Starts a sentence in a lane, whatever was in it. Then {@link stopOf} says whether it has ended already;
   * if not, {@link code0Of} and {@link hiddenOf} give its first frame.
   * @param alone whether no other stage computes, so that the prompt may have their cores
   * @returns false when the stop byte ended it; the lane is free then
   * @throws TtsError TEXT_TOO_LONG, with the lane free
   */
  begin(lane: number, sentence: Sentence, alone: boolean): boolean {
    const startMs = monotonicMs();
    const { bundle, config } = this.options;
    const { maxFrames: wanted, reference, sampling, seed, stream } = sentence;
    this.lines[lane] = null;
    const prompt = promptOf(bundle, this.tokenizer, sentence);
    const count = prompt.rows.length;
    const rows = this.embedder.prompt(prompt.rows, reference ?? NO_VOICE);
    const lasting = (reference?.codes ?? null) !== null;
    if (!this.prefill.fill(lane, { rows, count, prefixRows: prompt.prefixRows, lasting, alone }, startMs))
      return false;
    this.samplers[lane].reset(sampling.talker, seed, streamsOf(stream).talker);
    const maxFrames = Math.min(wanted, config.contextPositions - count - 1);
    this.alignments[lane].reset();
    this.lines[lane] = { prompt, frames: 0, maxFrames, wanted, code0: 0, textAt: -1, stop: null };
    this.draw(lane, 0);
    return true;
  }

  /** The last prompt: how much of it was computed, how much was known. */
  get taken(): Readonly<TakenPrompt> {
    return this.prefill.taken;
  }

  /** Why a lane's sentence has ended, or null while a frame of it is under way. */
  stopOf(lane: number): StopReason | null {
    return this.lines[lane]!.stop;
  }

  /** Offset in the sentence of the token that the frame under way says, or -1 where nobody knows. */
  textAtOf(lane: number): number {
    return this.lines[lane]!.textAt;
  }

  code0Of(lane: number): number {
    return this.lines[lane]!.code0;
  }

  /** f32 [hidden] in shared memory, of the frame under way. */
  hiddenOf(lane: number): Float32Array {
    return this.hidden[lane];
  }

  /** Whether a sentence had to end because there is memory for no more frames. */
  lacksMemory(lane: number): boolean {
    const { maxFrames, stop, wanted } = this.lines[lane]!;
    return stop === "length" && maxFrames < wanted;
  }

  /** inputs[at ...] += the text row that is fed with the frame under way, once its codes are complete. */
  addText(lane: number, inputs: Float32Array, at: number): void {
    const { frames, prompt } = this.lines[lane]!;
    this.embedder.addText(prompt.trailing[frames] ?? this.textPad, inputs, at);
  }

  /**
   * Completes a frame of `count` lanes and begins the next one.
   * @param lanes i32, whose first `count` entries are the lanes of the rows of `inputs`
   * @param inputs f32 [count, hidden] in shared memory: the sum of the frame's 16 code embeddings and its
   * text row
   * @returns false when the stop byte ended it; then no frame counts
   */
  step(lanes: Int32Array, count: number, inputs: Float32Array): boolean {
    if (!this.talker.step(lanes, count, inputs, this.stepHidden, this.stepLogits)) return false;
    for (let row = 0; row < count; row++) {
      this.lines[lanes[row]]!.frames++;
      this.draw(lanes[row], row);
    }
    return true;
  }

  /** Takes a lane's next hidden state and code 0 from packed row `row`; the sentence may end here. */
  private draw(lane: number, row: number): void {
    const line = this.lines[lane]!;
    this.hidden[lane].set(this.stepRows[row]);
    if (this.talker.isWatched) line.textAt = this.place(lane, line);
    line.code0 = this.samplers[lane].draw(this.stepLogits, row * this.talker.codecVocabulary);
    if (line.code0 === this.eos) line.stop = "eos";
    else if (line.frames >= line.maxFrames) line.stop = "length";
  }

  private place(lane: number, { frames, prompt }: Line): number {
    const { offsets, rows, text } = prompt;
    const count = Math.min(text.count, rows.length + frames - text.from);
    const token = this.alignments[lane].take(count, (tokens, target) =>
      this.talker.scores(lane, text.from, tokens, target),
    );
    return token < 0 ? -1 : offsets[token];
  }

  /**
   * Does one piece of the prompt cache's work, in a moment without sentences. @returns false when there is
   * nothing left
   */
  tidy(): boolean {
    return this.prefill.tidy();
  }

  close(): void {
    while (this.prefill.tidy()); // bounded by what is in memory
    this.talker.close();
    this.tokenizer.close();
    this.embedder.close();
  }
}
