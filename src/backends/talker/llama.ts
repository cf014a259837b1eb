// The talker on libllama: one context, one KV sequence per lane.

import { LlamaContext, type LlamaModel, loadLlama } from "../../../ffi/llama.ts";
import { PROMPT_PIECE_ROWS } from "../../config.ts";
import { SpareCores } from "../../machine/spare-cores.ts";
import { openTransformer } from "../gguf.ts";
import type { Backend, OpenOptions, Talker, TalkerMemory } from "../stage.ts";
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

  constructor({ bundle, config, lanes, stop, loadTurn }: OpenOptions) {
    const { version } = loadLlama(config.libraries.llama, loadTurn);
    const { shape, weights } = bundle.manifest;
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
    });
    this.positions = new Int32Array(lanes);
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

  save(lane: number): TalkerMemory {
    return { positions: this.positions[lane], bytes: this.context.saveLane(lane) };
  }

  restore(lane: number, { bytes, positions }: TalkerMemory): boolean {
    this.assertFits(positions);
    this.clear(lane);
    if (!this.context.restoreLane(lane, bytes)) return false;
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
    for (let row = 0; row < count; row++) this.read(row, row, hidden, logits);
    return true;
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
