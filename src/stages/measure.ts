// How long a frame of the code predictor takes with each backend on this machine, and how many rows its
// layers may take in one pass: as many as give the bits of single rows, proven on the bundle's own weights.

import { PROCESSOR_PREDICTORS } from "../backends/predictor/index.ts";
import { PredictorRows } from "../backends/predictor/rows.ts";
import { FIRST_ROWS, type PredictorLayers } from "../backends/predictor/stepwise.ts";
import type { OpenOptions } from "../backends/stage.ts";
import { LIMITS } from "../config.ts";
import { BUNDLE_FILES, type Manifest } from "../formats/bundle.ts";
import { Sampler } from "../sampler.ts";
import { CODES_PER_FRAME } from "../types.ts";

/** At least so many rounds, and so long: a busy machine disturbs most of the short ones. */
const LEAST_ROUNDS = 12;
const LEAST_MS = 300;
const MOST_ROWS = LIMITS.passRows;
const PROOF_FRAMES = 4;
/** In every pass of so many, some drafts are wrong. */
const WRONG_EVERY = 3;
/** A position in the middle of a frame. */
const MIDDLE = 8;

/** Covers only backends on the processor: accelerators come first anyway. */
export function measurePredictors(options: OpenOptions): Pick<Manifest, "predictorMs" | "predictorPassMs"> {
  const results: ReturnType<typeof measurePredictors> = { predictorMs: {}, predictorPassMs: {} };
  const { files } = options.bundle.manifest;
  for (const backend of PROCESSOR_PREDICTORS) {
    if (!Object.hasOwn(files, BUNDLE_FILES[backend.file!])) continue;
    const trial = new Trial(options, backend.openLayers(options, MOST_ROWS));
    try {
      const { frameMs, passMs } = trial.times(trial.provenRows());
      results.predictorMs[backend.name] = frameMs;
      results.predictorPassMs[backend.name] = passMs;
    } finally {
      trial.close();
    }
  }
  return results;
}

class Trial {
  private readonly rows: PredictorRows;
  private readonly sampler: Sampler;
  private readonly hidden: Float32Array;
  private readonly codes = new Int32Array(CODES_PER_FRAME);
  /** f32 [codes] of the head of every group. */
  private readonly expected: Float32Array[];

  constructor(
    { bundle }: OpenOptions,
    private readonly layers: PredictorLayers,
  ) {
    const { sampling, shape } = bundle.manifest;
    this.rows = new PredictorRows(bundle);
    this.hidden = Float32Array.from({ length: shape.hidden }, (_, i) => Math.sin(i));
    this.expected = Array.from({ length: CODES_PER_FRAME }, () => new Float32Array(shape.codes));
    this.sampler = new Sampler({ size: shape.codes, codes: shape.codes, eos: -1 });
    this.sampler.reset(sampling.predictor, 0, 0);
  }

  /** The most rows that give the bits of single ones, whether drafts among them are right or wrong. */
  provenRows(): number {
    for (let rows = 2; rows <= MOST_ROWS; rows++)
      for (let frame = 0; frame < PROOF_FRAMES; frame++) if (!this.proves(rows, frame)) return rows - 1;
    return MOST_ROWS;
  }

  private proves(rows: number, frame: number): boolean {
    this.codes.forEach((_, group) => {
      this.codes[group] = this.codeOf(frame, group);
    });
    this.singles((group) => this.expected[group].set(this.layers.logits));
    this.begin();
    // single passes first, so that longer ones start at other positions in every frame
    let position = FIRST_ROWS;
    for (; position < FIRST_ROWS + (frame % rows); position++) this.pass(1, position);
    for (let pass = 0; position < CODES_PER_FRAME; pass++) {
      const count = Math.min(rows, CODES_PER_FRAME - position);
      const right = pass % WRONG_EVERY === 0 ? 1 + (pass % count) : count;
      this.pass(count, position, right);
      for (let row = 0; row < right; row++) {
        this.layers.head(1, row, position + row);
        if (!isSame(this.layers.logits, this.expected[position + row])) return false;
      }
      position += right;
    }
    return true;
  }

  /** Any codes, of which no two neighbours are equal. */
  private codeOf(frame: number, group: number): number {
    return (7 * frame + 3 * group + 1) % this.layers.logits.length;
  }

  private begin(): void {
    this.layers.begin(1);
    this.rows.enter(this.hidden, 0, this.layers.input, 0);
    this.rows.copyCode(0, this.codes[0], this.layers.input, this.rows.width);
    this.layers.pass(1, FIRST_ROWS, 0);
  }

  /** Takes `count` codes at `position`, of which those after the first `right` ones are wrong. */
  private pass(count: number, position: number, right = count): void {
    for (let row = 0; row < count; row++) {
      const group = position + row - 1;
      const code = row < right ? this.codes[group] : this.codeOf(PROOF_FRAMES + row, group);
      this.rows.copyCode(group, code, this.layers.input, row * this.rows.width);
    }
    this.layers.pass(1, count, position);
  }

  /** A frame in single rows. */
  private singles(onLogits: (group: number) => void): void {
    this.begin();
    for (let group = 1; group < CODES_PER_FRAME; group++) {
      this.layers.head(1, group === 1 ? FIRST_ROWS - 1 : 0, group);
      onLogits(group);
      if (group + 1 < CODES_PER_FRAME) this.pass(1, group + 1);
    }
  }

  /** Milliseconds of a plain frame, and of passes of 1 to `rows` rows with the guesses that they take. */
  times(rows: number): { frameMs: number; passMs: number[] } {
    const frame = () => this.singles(() => {});
    const passes = Array.from({ length: rows }, (_, i) => () => {
      this.pass(1 + i, MIDDLE);
      for (let draft = 1; draft <= i; draft++) {
        this.layers.head(1, 0, MIDDLE + draft);
        this.sampler.guess(this.layers.logits, draft);
      }
    });
    frame();
    const [frameMs, ...passMs] = timesOf([frame, ...passes]);
    return { frameMs, passMs };
  }

  close(): void {
    this.layers.close();
    this.rows.close();
  }
}

const isSame = (a: Float32Array, b: Float32Array) => a.every((value, i) => Object.is(value, b[i]));

/**
 * Milliseconds of each work, as the least of many times: other programs can only make it slower. Done in
 * turn, so that a processor that changes its speed does so for all.
 */
function timesOf(works: readonly (() => void)[]): number[] {
  const times = works.map(() => Number.MAX_VALUE);
  const endMs = performance.now() + LEAST_MS;
  for (let round = 0; round < LEAST_ROUNDS || performance.now() < endMs; round++) {
    works.forEach((work, i) => {
      const before = performance.now();
      work();
      times[i] = Math.min(times[i], performance.now() - before);
    });
  }
  return times.map((ms) => Math.round(1_000 * ms) / 1_000);
}
