// Turns rows of integers into the talker's input vectors, and codes into its feedback. Reads single rows of
// the mapped tables.

import type { Bundle } from "../formats/bundle.ts";
import { type RowTable, TABLE, Tables } from "../formats/tables.ts";
import { CODES_PER_FRAME, NONE, type Row } from "../types.ts";

/** A voice taken from a recording: its speaker vector and, for in-context cloning, its codes. */
export interface VoiceVectors {
  /** f32 [hidden] */
  xVector: Float32Array | null;
  /** i32 [frames, 16] */
  codes: Int32Array | null;
}

export class Embedder {
  readonly hidden: number;
  private readonly text: RowTable;
  private readonly codes: RowTable[];
  private readonly tables: Tables;
  /** Grows to the longest prompt: new memory for each prompt would pile up until a collection. */
  private rows = new Float32Array(new SharedArrayBuffer(0));

  constructor(bundle: Bundle) {
    const { codecVocabulary, codes, hidden, textVocabulary } = bundle.manifest.shape;
    this.hidden = hidden;
    this.tables = Tables.open(bundle);
    try {
      this.text = this.tables.table(TABLE.text, textVocabulary, hidden);
      this.codes = Array.from({ length: CODES_PER_FRAME }, (_, group) => {
        return this.tables.table(TABLE.code(group), group === 0 ? codecVocabulary : codes, hidden);
      });
    } catch (error) {
      this.tables.close();
      throw error;
    }
  }

  /** Prompt rows as f32 [rows, hidden], in shared memory; valid until the next call. */
  prompt(rows: readonly Row[], voice: VoiceVectors): Float32Array {
    const length = rows.length * this.hidden;
    if (this.rows.length < length) this.rows = new Float32Array(new SharedArrayBuffer(4 * length));
    const out = this.rows.subarray(0, length).fill(0);
    rows.forEach((row, i) => {
      const at = i * this.hidden;
      if (row.codec !== NONE) this.codes[0].addRow(row.codec, out, at);
      if (row.frame !== NONE) this.addCodes(voice.codes!, row.frame * CODES_PER_FRAME, out, at);
      if (row.speaker) for (let d = 0; d < this.hidden; d++) out[at + d] += voice.xVector![d];
      if (row.text !== NONE) this.text.addRow(row.text, out, at);
    });
    return out;
  }

  /** target[at ...] = the sum of a frame's 16 code embeddings, in the official order 0 to 15. */
  feedback(codes: Int32Array, from: number, target: Float32Array, at: number): void {
    this.codes[0].copyRow(codes[from], target, at);
    this.addCodes(codes, from, target, at);
  }

  private addCodes(codes: Int32Array, from: number, target: Float32Array, at: number): void {
    for (let group = 1; group < CODES_PER_FRAME; group++)
      this.codes[group].addRow(codes[from + group], target, at);
  }

  /** target[at ...] += the text row fed with a frame. */
  addText(id: number, target: Float32Array, at: number): void {
    this.text.addRow(id, target, at);
  }

  close(): void {
    this.tables.close();
  }
}
