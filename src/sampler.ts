// Draws one code from its logits, in the official order of steps. Pure and seeded; allocates nothing per
// draw.

import { areNaN, TtsError } from "./errors.ts";
import type { DrawLimits, SamplerSettings } from "./types.ts";

/** Which ids may be drawn. */
export interface Vocabulary {
  /** Length of the logits. */
  size: number;
  /** Ids from here on are control ids and never drawn, except `eos`. Equal to `size` where there are none. */
  codes: number;
  /** The id that ends a sentence, or -1. */
  eos: number;
}

/** EOS cannot be drawn before this many codes were (official `min_new_tokens`). */
const MIN_CODES = 2;
/** Half the step between uniform random numbers, which can be 0 but never 1. */
const HALF_STEP = 2 ** -33;

/**
 * @param size of the vocabulary
 * @throws TtsError MODEL_UNSUITABLE
 */
export function assertDrawable(
  { greedy, topK, topP }: SamplerSettings,
  limits: DrawLimits,
  size: number,
): void {
  const limited = topK > 0 && topK < size;
  if (greedy || (topP === 1 && (!limited || topK <= limits.topK))) return;
  const what = topP < 1 ? `top-p ${topP}` : `top-k ${topK}, above ${limits.topK}`;
  throw new TtsError(
    "MODEL_UNSUITABLE",
    `the code predictor on the card cannot draw with ${what}`,
    "use {predictor} ort or llama",
  );
}

/** xoshiro128** with a splitmix32 seed: small, fast, and the same everywhere. */
class Random {
  private readonly s = new Int32Array(new ArrayBuffer(16));

  seed(seed: number, stream: number): void {
    let state =
      (seed | 0) ^ Math.imul(Math.floor(seed / 2 ** 32) + 1, 0x9e3779b9) ^ Math.imul(stream + 1, 0x85ebca6b);
    for (let i = 0; i < 4; i++) {
      state = (state + 0x9e3779b9) | 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      this.s[i] = mixed ^ (mixed >>> 15);
    }
  }

  /** Goes on from where `other` is. */
  follow(other: Random): void {
    for (let i = 0; i < 4; i++) this.s[i] = other.s[i];
  }

  /** In [0, 1), 32 bits. */
  next(): number {
    const { s } = this;
    const product = Math.imul(s[1], 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return (result >>> 0) / 2 ** 32;
  }
}

/** One timeline of draws: its settings, its random numbers and, for the penalty, the codes drawn so far. */
export class Sampler {
  private readonly random = new Random();
  /** For {@link guess}. */
  private readonly later = new Random();
  private readonly scores: Float32Array;
  private readonly kept: Int32Array;
  /** Ids, the one that {@link isBefore} all others on top. */
  private readonly heap: Int32Array;
  private readonly drawn: Uint8Array;
  private count = 0;
  /** Largest score and sum of exponentials of the softmax under way. */
  private max = 0;
  private total = 0;
  /** Settings of the timeline. */
  settings: Readonly<SamplerSettings> = {
    greedy: true,
    temperature: 1,
    topK: 0,
    topP: 1,
    repetitionPenalty: 1,
  };

  constructor(private readonly vocabulary: Vocabulary) {
    this.scores = new Float32Array(vocabulary.size);
    this.kept = new Int32Array(vocabulary.size);
    this.heap = new Int32Array(vocabulary.size);
    this.drawn = new Uint8Array(vocabulary.size);
  }

  /** Starts a new timeline. `stream` keeps timelines of one seed apart. */
  reset(settings: SamplerSettings, seed: number, stream: number): void {
    this.settings = settings;
    this.random.seed(seed, stream);
    this.drawn.fill(0);
    this.count = 0;
  }

  /** Counts `code` as drawn, for the penalty and the minimum length. */
  record(code: number): void {
    this.drawn[code] = 1;
    this.count++;
  }

  /**
   * Draws from `logits` (f32, read from `at` on) and records the result.
   * @throws TtsError BUNDLE_INVALID when the logits are NaN
   */
  draw(logits: Float32Array, at = 0): number {
    this.score(logits, at);
    const code = this.settings.greedy ? this.argmax() : this.pick(this.filter(), this.random);
    this.record(code);
    return code;
  }

  /**
   * What {@link draw} would choose from `logits`, `ahead` draws after the next one, if nothing else were
   * drawn until then. Changes nothing.
   */
  guess(logits: Float32Array, ahead: number): number {
    this.score(logits, 0);
    if (this.settings.greedy) return this.argmax();
    const { later } = this;
    later.follow(this.random);
    for (let i = 0; i < ahead; i++) later.next();
    return this.pick(this.filter(), later);
  }

  /**
   * Fills `target` with what a model that draws by itself adds to its scores: -ln(-ln u), so that the largest
   * sum is a draw. The u come from the generator of {@link draw}, but one per score instead of one per code:
   * the codes differ.
   */
  noise(target: Float32Array): void {
    for (let i = 0; i < target.length; i++) target[i] = -Math.log(-Math.log(this.random.next() + HALF_STEP));
  }

  /** The distribution that {@link draw} would draw from; for tests. */
  probabilities(logits: Float32Array): Float32Array {
    this.score(logits, 0);
    const kept = this.filter();
    const out = new Float32Array(this.vocabulary.size);
    this.softmaxTerms(kept);
    for (let i = 0; i < kept; i++)
      out[this.kept[i]] = Math.exp(this.scores[this.kept[i]] - this.max) / this.total;
    return out;
  }

  /** Steps 1 to 3: repetition penalty, minimum length, suppressed ids. They also hold when greedy. */
  private score(logits: Float32Array, at: number): void {
    const { scores, drawn } = this;
    const { size, codes, eos } = this.vocabulary;
    const penalty = this.settings.repetitionPenalty;
    for (let id = 0; id < codes; id++) scores[id] = logits[at + id];
    scores.fill(-Infinity, codes, size);
    if (eos >= 0) scores[eos] = this.count < MIN_CODES ? -Infinity : logits[at + eos];
    if (penalty === 1) return;
    for (let id = 0; id < size; id++)
      if (drawn[id] === 1) scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
  }

  private argmax(): number {
    let best = -1;
    let value = -Infinity;
    for (let id = 0; id < this.scores.length; id++) {
      if (this.scores[id] > value) {
        value = this.scores[id];
        best = id;
      }
    }
    if (best < 0) throw areNaN("the logits");
    return best;
  }

  /**
   * Steps 4 and 5: temperature, top-k (ties stay), top-p. Fills `kept` with ids in rising order and returns
   * how many.
   */
  private filter(): number {
    const { scores, kept, settings } = this;
    const { temperature, topK, topP } = settings;
    if (temperature !== 1) for (let id = 0; id < scores.length; id++) scores[id] /= temperature;
    const threshold = topK > 0 && topK < scores.length ? this.kthLargest(topK) : -Infinity;
    let count = 0;
    for (let id = 0; id < scores.length; id++)
      if (scores[id] >= threshold && scores[id] > -Infinity) kept[count++] = id;
    if (count === 0) throw areNaN("the logits");
    return topP < 1 ? this.nucleus(count, topP) : count;
  }

  /** A heap of the k largest scores so far, the smallest on top. */
  private kthLargest(k: number): number {
    const { scores, heap } = this;
    for (let id = 0; id < k; id++) heap[id] = id;
    this.heapify(k);
    for (let id = k; id < scores.length; id++) {
      if (scores[id] <= scores[heap[0]]) continue;
      heap[0] = id;
      this.siftDown(0, k);
    }
    return scores[heap[0]];
  }

  private heapify(length: number): void {
    for (let i = (length >> 1) - 1; i >= 0; i--) this.siftDown(i, length);
  }

  private siftDown(from: number, length: number): void {
    const { heap } = this;
    let at = from;
    const id = heap[at];
    for (let child = 2 * at + 1; child < length; child = 2 * at + 1) {
      if (child + 1 < length && this.isBefore(heap[child + 1], heap[child])) child++;
      if (!this.isBefore(heap[child], id)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = id;
  }

  /** Whether a is less likely than b, or as likely with a smaller id. */
  private isBefore(a: number, b: number): boolean {
    return this.scores[a] < this.scores[b] || (this.scores[a] === this.scores[b] && a < b);
  }

  /** Drops the least likely ids while their sum stays within 1 - topP; the likeliest always stays. */
  private nucleus(count: number, topP: number): number {
    const { scores, kept, heap } = this;
    this.softmaxTerms(count);
    for (let i = 0; i < count; i++) heap[i] = kept[i];
    this.heapify(count);
    let sum = 0;
    for (let left = count; left > 1; ) {
      sum += Math.exp(scores[heap[0]] - this.max) / this.total;
      if (sum > 1 - topP) break;
      heap[0] = heap[--left];
      this.siftDown(0, left);
    }
    let staying = 0;
    for (let i = 0; i < count; i++) if (!this.isBefore(kept[i], heap[0])) kept[staying++] = kept[i];
    return staying;
  }

  private softmaxTerms(count: number): void {
    this.max = -Infinity;
    this.total = 0;
    for (let i = 0; i < count; i++) this.max = Math.max(this.max, this.scores[this.kept[i]]);
    for (let i = 0; i < count; i++) this.total += Math.exp(this.scores[this.kept[i]] - this.max);
  }

  private pick(count: number, random: Random): number {
    this.softmaxTerms(count);
    let rest = random.next() * this.total;
    for (let i = 0; i < count; i++) {
      rest -= Math.exp(this.scores[this.kept[i]] - this.max);
      if (rest < 0) return this.kept[i];
    }
    return this.kept[count - 1];
  }
}
