// The code predictor on libllama: its layers, embeddings in and hidden states out, one KV sequence per lane;
// its heads are products of ggml on the same threads.

import { MatrixProducts } from "../../../ffi/ggml.ts";
import { LlamaContext, loadLlama } from "../../../ffi/llama.ts";
import { Tables } from "../../formats/tables.ts";
import { SpareCores } from "../../machine/spare-cores.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import { openTransformer } from "../gguf.ts";
import type { OpenOptions } from "../stage.ts";
import { FIRST_ROWS, type PredictorLayers, stepwiseBackend } from "./stepwise.ts";

export const predictorLlama = stepwiseBackend(
  "llama",
  "predictorGguf",
  (options, passRows) => new LlamaLayers(options, passRows),
);

class LlamaLayers implements PredictorLayers {
  readonly input: Float32Array;
  readonly logits: Float32Array;
  private readonly opened: { close(): void }[] = [];
  private readonly context: LlamaContext;
  private readonly heads: MatrixProducts;
  private readonly width: number;
  private readonly threads: number;
  private readonly spare = new SpareCores();
  /** Rows of the last pass, and the position after it. */
  private rows = 0;
  private end = 0;
  private decoded = false;

  constructor(options: OpenOptions, passRows: number) {
    const { bundle, config, lanes, stop } = options;
    loadLlama(config.libraries.llama, options.loadTurn);
    const { manifest } = bundle;
    const { predictorHidden, predictorLayers } = manifest.shape;
    this.width = predictorHidden;
    const batchRows = Math.max(FIRST_ROWS * lanes, passRows);
    this.input = new Float32Array(new SharedArrayBuffer(4 * batchRows * this.width));
    const { threads } = config;
    this.threads = threads;
    // f16 caches end at 65,504, too; only quantised weights are worth their speed
    const exact = ["f32", "f16", "bf16"].includes(manifest.weights.predictor);
    try {
      const head = { layers: predictorLayers, width: predictorHidden, vocabulary: 1 };
      const model = this.keep(openTransformer(bundle, "predictorGguf", manifest.weights.predictor, head));
      const cores = config.cpus.predictor;
      this.context = this.keep(
        new LlamaContext(model, {
          lanes,
          positions: CODES_PER_FRAME,
          batchRows,
          threads,
          cores,
          exact,
          stop,
        }),
      );
      this.heads = this.keep(openHeads(options, this.context));
    } catch (error) {
      this.close();
      throw error;
    }
    this.logits = this.heads.output;
  }

  private keep<T extends { close(): void }>(part: T): T {
    this.opened.push(part);
    return part;
  }

  begin(): void {
    this.context.clear();
    this.end = 0;
  }

  pass(count: number, rows: number, from: number): void {
    if (from < this.end) this.context.clearLane(0, from); // drafts that were wrong: of one lane alone
    this.end = from + rows;
    this.rows = rows;
    this.useSpareCores();
    for (let row = 0; row < count * rows; row++)
      this.context.place(row, Math.floor(row / rows), from + (row % rows));
    this.decoded = this.context.decode(this.input, count * rows);
  }

  /** Before every pass: at the first one of a frame the talker's thread has often not gone to sleep yet. */
  private useSpareCores(): void {
    const threads = this.spare.threads(this.threads);
    this.context.useThreads(threads, threads);
    this.heads.useThreads(threads);
  }

  head(count: number, row: number, group: number): void {
    if (!this.decoded) return; // stopping: nobody reads the result
    for (let lane = 0; lane < count; lane++)
      this.context.readHidden(lane * this.rows + row, this.heads.input, lane * this.width, this.width);
    this.heads.run(group - 1, count);
  }

  /** Closes in reverse order of opening: each object uses those before it. */
  close(): void {
    this.spare.close();
    while (this.opened.length > 0) this.opened.pop()!.close();
  }
}

function openHeads({ bundle, lanes }: OpenOptions, { pool }: LlamaContext): MatrixProducts {
  const { codes, predictorHidden: width } = bundle.manifest.shape;
  const tables = Tables.open(bundle);
  try {
    const heads = Array.from({ length: CODES_PER_FRAME - 1 }, (_, i) => tables.head(i + 1, codes, width));
    return new MatrixProducts(heads, { rows: codes, width, lanes, pool });
  } finally {
    tables.close(); // the weights were copied
  }
}
