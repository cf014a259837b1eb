// The talker on libllama: one context, one KV sequence per lane.

import { LlamaContext, type LlamaModel, loadLlama } from "../../../ffi/llama.ts";
import { PROMPT_PIECE_ROWS } from "../../config.ts";
import { asBytes } from "../../io/bytes.ts";
import { SpareCores } from "../../machine/spare-cores.ts";
import { openTransformer } from "../gguf.ts";
import type { Backend, OpenOptions, Talker, TalkerMemory } from "../stage.ts";
import { headScores } from "./_attention.ts";
import { assertPiece, assertRoom } from "./_pieces.ts";

export const talkerLlama: Backend<Talker> = {
  name: "llama",
  file: "talker",
  open: (options) => new LlamaTalker(options),
};

/**
 * From here on libllama shares out the attention of a single row among the threads, and its bits depend on
 * their number (seen with llama.cpp v0.5.0: never before position 256).
 */
const SPLIT_POSITIONS = 256;

/** A prompt takes a hundred times as long. */
const PROMPT_PATIENCE_MS = 2;

class LlamaTalker implements Talker {
  readonly hidden: number;
  readonly codecVocabulary: number;
  readonly memoryKind: string;
  private readonly model: LlamaModel;
  private readonly context: LlamaContext;
  /** Next position of each lane. */
  private readonly positions: Int32Array;
  private readonly limit: number;
  private readonly threads: number;
  private readonly steadyThreads: number;
  private readonly mostThreads: number;
  private readonly spare = new SpareCores();
  /** Of the watched head; empty without one. */
  private readonly keys: Float32Array; // [lanes, positions, width]
  private readonly queries: Float32Array; // [lanes, width]
  /** Of a key; 0: no head is watched. */
  private readonly headWidth: number;

  constructor({ bundle, config, lanes, stop, loadTurn }: OpenOptions) {
    const { version } = loadLlama(config.libraries.llama, loadTurn);
    const { alignment, shape, weights } = bundle.manifest;
    const watched = config.alignment ? (alignment ?? undefined) : undefined;
    const { codecVocabulary, hidden, layers } = shape;
    const head = { layers, width: hidden, vocabulary: codecVocabulary };
    this.model = openTransformer(bundle, "talker", weights.talker, head);
    [this.hidden, this.codecVocabulary] = [hidden, codecVocabulary];
    this.limit = config.contextPositions;
    [this.threads, this.steadyThreads] = [config.threads, config.steadyThreads];
    this.mostThreads = config.promptThreads;
    const exact = weights.talker === "f32";
    // libllama refuses state from a context with another number of sequences; threads are named to be safe.
    const kind = [
      version,
      exact ? "exact" : "fast",
      `${lanes} lanes`,
      `${config.steadyThreads} threads`,
      `batches of ${PROMPT_PIECE_ROWS}`,
      ...(watched === undefined ? [] : [`head ${watched.layer}.${watched.head}`]),
    ];
    this.memoryKind = `llama.cpp ${kind.join(", ")}`;
    this.context = new LlamaContext(this.model, {
      lanes,
      positions: this.limit,
      batchRows: PROMPT_PIECE_ROWS,
      threads: this.threads,
      mostThreads: this.mostThreads,
      cores: config.cpus.talker,
      exact,
      stop,
      watched,
    });
    this.positions = new Int32Array(lanes);
    this.headWidth = watched?.width ?? 0;
    this.keys = new Float32Array(lanes * this.limit * this.headWidth);
    this.queries = new Float32Array(lanes * this.headWidth);
  }

  prefill(
    lane: number,
    rows: Float32Array,
    from: number,
    to: number,
    hidden: Float32Array,
    logits: Float32Array,
    alone = false,
  ): boolean {
    if (from === 0) this.clear(lane);
    const threads = alone ? this.mostThreads : this.threads;
    this.context.useThreads(1, this.spare.threads(threads, PROMPT_PATIENCE_MS));
    return this.decodeRows(lane, rows, from, to, hidden, logits);
  }

  private decodeRows(
    lane: number,
    rows: Float32Array,
    from: number,
    to: number,
    hidden: Float32Array,
    logits: Float32Array,
  ): boolean {
    assertPiece(lane, this.positions[lane], from, to);
    const count = to - from;
    for (let row = 0; row < count; row++) this.context.place(row, lane, from + row);
    if (!this.context.decode(rows.subarray(from * this.hidden), count)) return false;
    this.read(count - 1, 0, hidden, logits);
    for (let row = 0; row < count; row++) this.keepHead(row, lane, from + row);
    this.positions[lane] = to;
    return true;
  }

  assertFits(positions: number): void {
    assertRoom(positions, this.limit);
  }

  private clear(lane: number): void {
    this.context.clearLane(lane);
    this.positions[lane] = 0;
  }

  /** Behind libllama's bytes lie the watched head's keys and its last query. */
  save(lane: number): TalkerMemory {
    const positions = this.positions[lane];
    const state = this.context.saveLane(lane);
    if (!this.isWatched) return { positions, bytes: state };
    const { headWidth: width, keys, limit, queries } = this;
    const bytes = new Uint8Array(state.length + this.headBytes(positions));
    bytes.set(state);
    const from = lane * limit * width;
    const head = [
      keys.subarray(from, from + positions * width),
      queries.subarray(lane * width).subarray(0, width),
    ];
    bytes.set(asBytes(head[0]), state.length);
    bytes.set(asBytes(head[1]), bytes.length - 4 * width);
    return { positions, bytes };
  }

  private headBytes(positions: number): number {
    return 4 * (positions + 1) * this.headWidth;
  }

  restore(lane: number, { bytes, positions }: TalkerMemory): boolean {
    this.assertFits(positions);
    this.clear(lane);
    const end = bytes.length - this.headBytes(positions);
    if (end < 0 || !this.context.restoreLane(lane, bytes.subarray(0, end))) return false;
    const { headWidth: width, keys, limit, queries } = this;
    const floats = new Float32Array(new Uint8Array(bytes.subarray(end)).buffer); // it may begin anywhere
    keys.set(floats.subarray(0, positions * width), lane * limit * width);
    queries.set(floats.subarray(positions * width), lane * width);
    this.positions[lane] = positions;
    return true;
  }

  step(
    lanes: Int32Array,
    count: number,
    inputs: Float32Array,
    hidden: Float32Array,
    logits: Float32Array,
  ): boolean {
    let isShort = true;
    for (let row = 0; row < count; row++) {
      isShort &&= this.positions[lanes[row]] < SPLIT_POSITIONS;
      this.context.place(row, lanes[row], this.positions[lanes[row]]++);
    }
    const threads = isShort ? this.spare.threads(this.threads) : this.steadyThreads;
    this.context.useThreads(threads, threads);
    if (!this.context.decode(inputs, count)) return false;
    for (let row = 0; row < count; row++) {
      this.read(row, row, hidden, logits);
      this.keepHead(row, lanes[row], this.positions[lanes[row]] - 1);
    }
    return true;
  }

  private keepHead(row: number, lane: number, position: number): void {
    const { tap } = this.context;
    if (tap === null) return;
    const { headWidth: width, keys, limit, queries } = this;
    const at = (lane * limit + position) * width;
    for (let d = 0; d < width; d++) {
      keys[at + d] = tap.keys[row * width + d];
      queries[lane * width + d] = tap.queries[row * width + d];
    }
  }

  get isWatched(): boolean {
    return this.headWidth > 0;
  }

  scores(lane: number, from: number, count: number, target: Float32Array): void {
    const { headWidth: width, keys, limit, queries } = this;
    headScores(queries, lane * width, keys, lane * limit * width, width, from, count, target);
  }

  private read(row: number, target: number, hidden: Float32Array, logits: Float32Array): void {
    this.context.readHidden(row, hidden, target * this.hidden, this.hidden);
    this.context.readLogits(row, logits, target * this.codecVocabulary, this.codecVocabulary);
  }

  close(): void {
    this.spare.close();
    this.context.close();
    this.model.close();
  }
}
