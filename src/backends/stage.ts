// The interfaces of the stages, and what opening one takes. A backend knows its own library and nothing of
// the pipeline; every backend of a stage passes the same conformance suite (test/conformance).

import type { Config } from "../config.ts";
import type { BUNDLE_FILES, Bundle } from "../formats/bundle.ts";
import type { DrawLimits, SamplerSettings } from "../types.ts";

/** What a stage is about to open. It may take long, and a call into an accelerator's driver may hang. */
export interface Opening {
  backend: string;
  isAccelerator: boolean;
}
export type OnOpening = (opening: Opening) => void;

/** What opening a stage needs besides the files. */
export interface OpenOptions {
  bundle: Bundle;
  config: Config;
  lanes: number;
  /** A zeroed shared byte pair: setting its first byte ends a running native call as soon as possible. */
  stop: SharedArrayBuffer;
  /** One shared word: loading libllama's CPU code is done by one thread at a time. */
  loadTurn: Int32Array;
  /** Default: nobody waits. */
  onOpening?: OnOpening;
}

/** Options for a stage opened by itself: nobody stops it, and no other thread loads libraries. */
export const standalone = (bundle: Bundle, config: Config, lanes = 1): OpenOptions => {
  return {
    bundle,
    config,
    lanes,
    stop: new SharedArrayBuffer(2),
    loadTurn: new Int32Array(new SharedArrayBuffer(4)),
  };
};

/** One way to run a stage. */
export interface Backend<Stage> {
  readonly name: string;
  /** The file without which a bundle is not for this backend. Default: every bundle is. */
  readonly file?: keyof typeof BUNDLE_FILES;
  /** @throws TtsError; only an accelerator that does not work makes `auto` go on, and that is reported */
  open(options: OpenOptions): Stage;
}

/** A backend that not every machine has. */
export interface Accelerator<Stage> extends Backend<Stage> {
  /** Whether this model was prepared for it: `auto` prefers it then, and ignores it otherwise. */
  isPrepared(options: OpenOptions): boolean;
  /**
   * Why it cannot run here, in one line, or null. Must be cheap: it may load a library, but touches no
   * device.
   */
  probe(options: OpenOptions): string | null;
}

export const isAccelerator = <Stage>(backend: Backend<Stage>): backend is Accelerator<Stage> =>
  "probe" in backend;

/** A stage and what runs it. */
export interface Opened<Stage> {
  stage: Stage;
  /** Name of the backend. */
  name: string;
  /** Why prepared accelerators are not used, one line each. */
  unused: string[];
}

/** A copy of what a lane of the talker has taken in. */
export interface TalkerMemory {
  positions: number;
  /** Only for talkers on the same files and of the same {@link Talker.memoryKind}. */
  bytes: Uint8Array<ArrayBuffer>;
}

/** The autoregressive model. Lanes are independent sentences; each keeps its own KV cache. */
export interface Talker {
  readonly hidden: number;
  readonly codecVocabulary: number;
  /** @throws TtsError TEXT_TOO_LONG when a prompt of this many positions leaves none for a frame */
  assertFits(positions: number): void;
  /** Names all that saved memory depends on, besides the model's files and the processor. */
  readonly memoryKind: string;
  /**
   * Takes in a prompt's rows `from` to `to` (exclusive), of `rows` f32 [rows, hidden], and gives the last
   * one's results: `hidden` f32 [hidden] after the final norm, `logits` f32 [codecVocabulary]. With `from` 0
   * the lane starts anew; any other `from` must be its position. At most PROMPT_PIECE_ROWS at once. Rounding
   * depends on the cuts: the same cuts give the same bits.
   * @param alone whether no other stage computes: if so, `promptThreads` threads may compute
   * @returns false when the stop byte ended it
   */
  prefill(
    lane: number,
    rows: Float32Array,
    from: number,
    to: number,
    hidden: Float32Array,
    logits: Float32Array,
    alone?: boolean,
  ): boolean;
  /** Copies what a lane has taken in, for restore() into this or another lane later. */
  save(lane: number): TalkerMemory;
  /** @returns false when the memory is of another kind; the lane is empty then */
  restore(lane: number, memory: TalkerMemory): boolean;
  /**
   * Moves the first `count` lanes of `lanes` on by one position: `inputs` f32 [count, hidden] in their order,
   * results as rows of `hidden` and `logits`. Rows are packed: row i belongs to lane lanes[i].
   */
  step(
    lanes: Int32Array,
    count: number,
    inputs: Float32Array,
    hidden: Float32Array,
    logits: Float32Array,
  ): boolean;
  /** Whether {@link scores} may be asked: the model has an alignment head, and the settings want it. */
  readonly isWatched: boolean;
  /**
   * What the alignment head, in a lane's last position, gives the positions from `from` on: `count` scores
   * before the softmax to `target`. All of them must have been taken in.
   */
  scores(lane: number, from: number, count: number, target: Float32Array): void;
  close(): void;
}

/** Chooses a code for packed row `row` and `group` 1 to 15 from `logits` [codes]. */
export type Draw = (row: number, group: number, logits: Float32Array) => number;

/** What a model that draws codes itself, or guesses those to come, needs for packed row `row`. */
export interface Chances {
  settings(row: number): SamplerSettings;
  /**
   * What {@link Draw} would choose for `group` from `logits`, `ahead` draws after the next one. A guess,
   * which changes nothing.
   */
  draft(row: number, group: number, ahead: number, logits: Float32Array): number;
  /**
   * Fills `target` with -ln(-ln u) of uniform random numbers u: the largest of logit / temperature + noise is
   * a draw.
   */
  noise(row: number, target: Float32Array): void;
}

/** How the last frame was made. */
export interface Tally {
  /** Passes of the layers. */
  calls: number;
  /**
   * i32, by position in a pass: drafts whose predecessors were right, and those that were right themselves.
   */
  readonly tried: Int32Array;
  readonly right: Int32Array;
}

/** Codes 1 to 15 of a frame. No frame changes the codes of another. */
export interface Predictor {
  /** Absent for a predictor that makes a whole frame in one call. */
  readonly tally?: Tally;
  /** Limits of a predictor that draws the codes itself; absent for all others. */
  readonly drawsInside?: DrawLimits;
  /**
   * `hidden` f32 [count, hidden] is the talker's; `codes` i32 [count, 16] holds code 0 and gets the others.
   * Rows are packed as the talker's are. `draw` chooses the codes. A model with {@link drawsInside} chooses
   * them itself: by `chances`, or the likeliest ones without `chances`. Others may use `chances` to guess
   * codes to come.
   */
  predict(count: number, hidden: Float32Array, codes: Int32Array, draw: Draw, chances?: Chances): void;
  close(): void;
}

/** A copy of everything that the vocoder keeps from call to call. */
export interface VocoderMemory {
  frames: number;
  state: Float32Array[];
}

/** Codes to samples, exactly, in any chunking. */
export interface Vocoder {
  /**
   * Frames per call that suit it: for the first call, the second, and so on; the last number is for all that
   * follow. At most VOCODER_CHUNK_FRAMES.
   */
  readonly chunks: readonly number[];
  /** Forgets what a lane has heard. */
  reset(lane: number): void;
  /** Copies what a lane has heard, for restore() into this or another lane later. */
  save(lane: number): VocoderMemory;
  restore(lane: number, memory: VocoderMemory): void;
  /**
   * Absent where lanes do not compute side by side. Begins what decode() of the same codes will need, and
   * does not wait. A lane that is reset, or decodes something else, has begun for nothing.
   */
  begin?(lane: number, codes: Int32Array, frames: number): void;
  /**
   * `codes` i32 [frames, 16] from frame 0 on -> `samples` f32 [frames * 1920]. Made for up to
   * VOCODER_CHUNK_FRAMES frames a call.
   */
  decode(lane: number, codes: Int32Array, frames: number, samples: Float32Array): void;
  close(): void;
}

/** Takes a voice from a recording: mono f32 at 24 kHz. Only Base models have one. */
export interface Encoder {
  /**
   * `samples` -> i32 [ceil(samples / 1920), 16], for cloning in context.
   * @throws TtsError REFERENCE_UNUSABLE: empty, too long, silent, or not numbers
   */
  codes(samples: Float32Array): Int32Array;
  /**
   * `samples` -> f32 [hidden], the speaker vector.
   * @throws TtsError REFERENCE_UNUSABLE: the same, and also too short
   */
  xVector(samples: Float32Array): Float32Array;
  close(): void;
}
