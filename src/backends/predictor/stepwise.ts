// A frame of the code predictor as passes of its layers, for backends that take some positions at a time. In
// plain passes every code waits for the one before it. Of a single lane a pass may also take drafts: the
// heads of later codes, applied to the state of the present one, guess them, and the pass that takes a code
// with its drafts gives the states that verify them. Every code is drawn as in plain passes, from the same
// logits: a draft is right when it is the code that was drawn.

import { provenPassMs } from "../../formats/bundle.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import type { Backend, Chances, Draw, OpenOptions, Predictor, Tally } from "../stage.ts";
import { DraftWindow } from "./draft-window.ts";
import { PredictorRows } from "./rows.ts";

const LAST_GROUP = CODES_PER_FRAME - 1;
/** The first pass of a frame takes the talker's state and code 0. */
export const FIRST_ROWS = 2;

/** Layers and heads: rows in, states, logits out, a KV cache that lives for one frame. */
export interface PredictorLayers {
  /** f32 [lanes, rows, hidden] of the next pass, packed. */
  readonly input: Float32Array;
  /** f32 [lanes, codes] of the last head. */
  readonly logits: Float32Array;
  /** Forgets the last frame. */
  begin(count: number): void;
  /**
   * Takes in `rows` rows of each of the first `count` lanes, at positions `from` ...; what these and later
   * positions held is forgotten. Two rows at position 0, one later, or up to `passRows` of a single lane.
   */
  pass(count: number, rows: number, from: number): void;
  /** Applies the head of `group`, 1 to 15, to row `row` of each lane of the last pass. */
  head(count: number, row: number, group: number): void;
  close(): void;
}

/** A backend that has layers and heads. */
export interface StepwiseBackend extends Backend<Predictor> {
  /** @param passRows the most rows that a pass of one lane will take, at least {@link FIRST_ROWS} */
  openLayers(options: OpenOptions, passRows: number): PredictorLayers;
}

export function stepwiseBackend(
  name: string,
  file: StepwiseBackend["file"],
  openLayers: StepwiseBackend["openLayers"],
): StepwiseBackend {
  const open = (options: OpenOptions) => {
    const { pretendedCodes, speculate } = options.config;
    const window = new DraftWindow(provenPassMs(options.bundle, name), speculate, pretendedCodes);
    const layers = openLayers(options, Math.max(FIRST_ROWS, 1 + window.most));
    return new StepwisePredictor(layers, window, options);
  };
  return { name, file, openLayers, open };
}

export class StepwisePredictor implements Predictor {
  readonly tally: Tally;
  private readonly rows: PredictorRows;
  /** f32 [codes] of each lane. */
  private readonly logits: Float32Array[];
  /** The code of each row of the last pass, where it was a draft. */
  private readonly drafts: Int32Array;
  /** {@link Config.pretendedCodes} */
  private readonly pretendedCodes: number;
  /** Codes that the passes so far still owe, where every pass is to give so many on average. */
  private credit = 0;

  /** Owns the layers: closes them with itself, or when the bundle does not fit. */
  constructor(
    private readonly layers: PredictorLayers,
    private readonly window: DraftWindow,
    { bundle, config, lanes }: OpenOptions,
  ) {
    const { codes } = bundle.manifest.shape;
    this.logits = Array.from({ length: lanes }, (_, lane) =>
      layers.logits.subarray(lane * codes, (lane + 1) * codes),
    );
    this.pretendedCodes = config.pretendedCodes;
    this.tally = this.window.tally;
    this.drafts = new Int32Array(1 + this.window.most);
    try {
      this.rows = new PredictorRows(bundle);
    } catch (error) {
      layers.close();
      throw error;
    }
  }

  predict(count: number, hidden: Float32Array, codes: Int32Array, draw: Draw, chances?: Chances): void {
    const { layers, rows } = this;
    const { width } = rows;
    this.window.beginFrame();
    layers.begin(count);
    for (let lane = 0; lane < count; lane++) {
      rows.enter(hidden, lane, layers.input, FIRST_ROWS * lane * width);
      rows.copyCode(0, codes[lane * CODES_PER_FRAME], layers.input, (FIRST_ROWS * lane + 1) * width);
    }
    this.pass(count, FIRST_ROWS, 0);
    if (count === 1 && chances !== undefined && this.window.drafts > 0) this.speculate(codes, draw, chances);
    else this.goOn(count, codes, draw);
  }

  private pass(count: number, rows: number, from: number): void {
    this.layers.pass(count, rows, from);
    this.tally.calls++;
    this.credit = Math.min(this.credit + this.pretendedCodes, CODES_PER_FRAME);
  }

  /** The codes after the first pass, one a pass. */
  private goOn(count: number, codes: Int32Array, draw: Draw): void {
    const { layers, rows } = this;
    for (let group = 1; group <= LAST_GROUP; group++) {
      layers.head(count, group === 1 ? 1 : 0, group);
      for (let lane = 0; lane < count; lane++)
        codes[lane * CODES_PER_FRAME + group] = draw(lane, group, this.logits[lane]);
      if (group === LAST_GROUP) return;
      for (let lane = 0; lane < count; lane++)
        rows.copyCode(group, codes[lane * CODES_PER_FRAME + group], layers.input, lane * rows.width);
      this.pass(count, 1, group + 1);
    }
  }

  /** The codes after the first pass of a single lane, several a pass where drafts are right. */
  private speculate(codes: Int32Array, draw: Draw, chances: Chances): void {
    const { drafts, layers, rows } = this;
    // the row of the last pass whose state is known to be right, and the drafts in that pass
    let row = FIRST_ROWS - 1;
    let taken = 0;
    for (let group = 1; ; group++) {
      layers.head(1, row, group);
      codes[group] = draw(0, group, this.logits[0]);
      this.credit--;
      if (group === LAST_GROUP) return;
      if (row < taken && this.isRight(row + 1, codes, group)) {
        row++;
        continue;
      }
      taken = Math.min(this.window.drafts, LAST_GROUP - 1 - group);
      rows.copyCode(group, codes[group], layers.input, 0);
      for (let i = 1; i <= taken; i++) {
        layers.head(1, row, group + i);
        drafts[i] = chances.draft(0, group + i, i - 1, this.logits[0]);
        rows.copyCode(group + i, drafts[i], layers.input, i * rows.width);
      }
      this.pass(1, 1 + taken, group + 1);
      row = 0;
    }
  }

  /** Whether the draft in row `row` of the last pass is the code of `group`, which was drawn. */
  private isRight(row: number, codes: Int32Array, group: number): boolean {
    const { pretendedCodes } = this;
    let right = this.drafts[row] === codes[group];
    if (pretendedCodes > 0) {
      right = this.credit >= 1;
      if (right) codes[group] = this.drafts[row];
    }
    this.window.note(row, right);
    return right;
  }

  close(): void {
    this.layers.close();
    this.rows.close();
  }
}
