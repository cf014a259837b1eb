// Puts a prompt into a lane of the talker: computed, or recalled. A prompt is always computed in two parts,
// cut where its text begins, so that nothing rounds differently when the first part is recalled. A prompt
// that comes again is recalled whole.

import { monotonicMs } from "../../ffi/libc.ts";
import type { Talker } from "../backends/stage.ts";
import { PREFIX_LIMITS, PROMPT_PIECE_ROWS, type PrefixCacheChoice } from "../config.ts";
import { PrefixStore, type PromptState, promptKeys } from "./prompt-cache.ts";
import type { Track } from "./timeline.ts";

/** A prompt, ready for the talker. */
export interface PromptInput {
  /** f32 [count, hidden] */
  rows: Float32Array;
  count: number;
  /** Where it is cut: see Prompt.prefixRows. */
  prefixRows: number;
  /** Whether its start will come again and costs much: a voice in context. */
  lasting: boolean;
  /** Whether no other stage computes now. */
  alone: boolean;
}

/** States by key, up to a number of bytes and positions; the least recently used goes first. */
class Remembered {
  private readonly states = new Map<string, PromptState>();
  private bytes = 0;
  private positions = 0;

  /** Does not count as a use. */
  peek(key: string): PromptState | null {
    return this.states.get(key) ?? null;
  }

  use(key: string): PromptState | null {
    const state = this.states.get(key);
    if (state === undefined) return null;
    this.states.delete(key);
    this.states.set(key, state);
    return state;
  }

  /** Frees its memory at once: unused megabytes would pile up until the next collection. */
  forget(key: string): void {
    const state = this.states.get(key);
    if (state === undefined) return;
    const { bytes, positions } = state;
    this.states.delete(key);
    this.bytes -= bytes.length;
    this.positions -= positions;
    if (bytes.length === bytes.buffer.byteLength) bytes.buffer.transfer(0);
  }

  add(key: string, state: PromptState): void {
    this.forget(key);
    if (!fits(state.bytes.length, state.positions)) return;
    this.states.set(key, state);
    this.bytes += state.bytes.length;
    this.positions += state.positions;
    for (const oldest of this.states.keys()) {
      if (fits(this.bytes, this.positions)) return;
      this.forget(oldest);
    }
  }
}

const fits = (bytes: number, positions: number) =>
  bytes <= PREFIX_LIMITS.memoryBytes && positions <= PREFIX_LIMITS.memoryPositions;

/** What a {@link Prefill} works with. */
export interface PrefillOptions {
  talker: Talker;
  track: Track;
  /** f32 [hidden], f32 [codec vocabulary]: where the last row's results go */
  hidden: Float32Array;
  logits: Float32Array;
  /** Called after every piece of a prompt, as a sign of life: all of it may take minutes. */
  onPiece: () => void;
  choice: PrefixCacheChoice;
  cacheDir: string;
  /** From modelIdentity, taken before the model was opened. */
  identity: string;
}

/** What became of a prompt's rows. */
export interface TakenPrompt {
  computed: number;
  known: number;
  /** The time that computing the known rows once took, less the time of recalling them. */
  savedMs: number;
}

export class Prefill {
  /** Figures of the last prompt. */
  readonly taken: TakenPrompt = { computed: 0, known: 0, savedMs: 0 };
  private readonly memory: Remembered | null;
  private readonly disk: PrefixStore | null;
  private readonly identity: string;

  constructor(private readonly options: PrefillOptions) {
    const { cacheDir, choice, identity, talker } = options;
    this.memory = choice === "off" ? null : new Remembered();
    this.disk = choice === "disk" ? new PrefixStore(cacheDir) : null;
    this.identity = `${identity} ${talker.memoryKind}`;
  }

  /**
   * Fills a lane and gives the last row's results.
   * @param startMs when the work on this prompt began
   * @returns false when the stop byte ended it
   * @throws TtsError TEXT_TOO_LONG before anything is computed
   */
  fill(lane: number, { alone, count, lasting, prefixRows, rows }: PromptInput, startMs: number): boolean {
    const { talker, track } = this.options;
    talker.assertFits(count);
    const keys = this.memory === null ? null : promptKeys(this.identity, rows, prefixRows, talker.hidden);
    const recalled =
      keys === null
        ? null
        : (this.recall(lane, keys.whole, count, false) ??
          this.recall(lane, keys.prefix, prefixRows, lasting));
    const known = recalled?.positions ?? 0;
    [this.taken.known, this.taken.computed, this.taken.savedMs] = [known, count - known, 0];
    const knownMs = recalled === null ? startMs : monotonicMs();
    let computedMs = 0;
    if (recalled !== null) {
      track.record("recall", startMs, knownMs, known);
      track.spare(recalled.computedMs);
      ({ computedMs } = recalled);
      this.taken.savedMs = computedMs - (knownMs - startMs);
    } else {
      if (!this.compute(lane, rows, 0, prefixRows, alone)) return false;
      computedMs = monotonicMs() - knownMs;
      this.remember(lane, keys?.prefix, computedMs);
    }
    if (known < count) {
      const restMs = monotonicMs();
      if (!this.compute(lane, rows, prefixRows, count, alone)) return false;
      const endMs = monotonicMs();
      this.remember(lane, keys?.whole, computedMs + endMs - restMs);
      track.record("prefill", knownMs, endMs, count - known);
    }
    return true;
  }

  /** @returns the state that is in the lane now, or null if the key is unknown */
  private recall(lane: number, key: string, positions: number, lasting: boolean): PromptState | null {
    const { hidden, logits, talker } = this.options;
    this.disk?.ask(key, lasting);
    const state = this.memory!.use(key) ?? this.load(key);
    if (state === null) return null;
    if (state.positions !== positions || !talker.restore(lane, state)) {
      this.memory!.forget(key);
      this.disk?.drop(key);
      return null;
    }
    hidden.set(state.results.subarray(0, talker.hidden));
    logits.set(state.results.subarray(talker.hidden));
    return state;
  }

  private load(key: string): PromptState | null {
    const state = this.disk?.read(key) ?? null;
    if (state !== null) this.memory!.add(key, state);
    return state;
  }

  private remember(lane: number, key: string | undefined, computedMs: number): void {
    if (key === undefined) return;
    const { hidden, logits, talker } = this.options;
    const results = new Float32Array(talker.hidden + talker.codecVocabulary);
    results.set(hidden.subarray(0, talker.hidden));
    results.set(logits.subarray(0, talker.codecVocabulary), talker.hidden);
    this.memory!.add(key, { ...talker.save(lane), computedMs, results });
  }

  private compute(lane: number, rows: Float32Array, from: number, to: number, alone: boolean): boolean {
    const { hidden, logits, onPiece, talker } = this.options;
    for (let at = from; at < to; at += PROMPT_PIECE_ROWS) {
      if (!talker.prefill(lane, rows, at, Math.min(at + PROMPT_PIECE_ROWS, to), hidden, logits, alone))
        return false;
      onPiece();
    }
    return true;
  }

  /** Does one piece of the disk's work, in a quiet moment. @returns false when there is nothing left */
  tidy(): boolean {
    return this.disk?.tidy((key) => this.memory!.peek(key)) ?? false;
  }
}
