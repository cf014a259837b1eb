// Records the inputs of the code predictor's NPU graphs while known codes are spoken: rows of the
// checkpoint's tables, and the talker's states.

import { SAMPLING_DEFAULTS } from "../../config.ts";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import { type CalibrationSet, spread } from "./_calibration.ts";
import type { PartChain } from "./_chain.ts";

/** The smallest uniform number u from which noise is made: -ln(-ln u) is still finite. */
const LEAST_UNIFORM = 2 ** -24;

/** A speech of the model. */
export interface Speech {
  /** i32 [frames, 16] */
  codes: Int32Array;
  /** The talker's states, f32 [frames, talker hidden]; empty when no predictor needs them. */
  hidden: Float32Array;
}

/** A chain of one graph, and the set that its inputs are written to. */
interface Recorded {
  chain: PartChain;
  set: CalibrationSet;
}

/** Speaks all frames of all speeches again, step by step, and writes `wanted` runs' inputs for each graph. */
export function recordPredictor(
  checkpoint: Checkpoint,
  speeches: readonly Speech[],
  { frame, step }: Record<"step" | "frame", Recorded>,
  wanted: number,
  advance: (share: number) => void,
): void {
  const width = checkpoint.talker.hidden;
  const rows = new PredictorRows(checkpoint);
  const frames = speeches.reduce((sum, { codes }) => sum + codes.length / CODES_PER_FRAME, 0);
  const [framesWanted, stepsWanted] = [
    spread(frames, wanted),
    spread(frames * (CODES_PER_FRAME - 1), wanted),
  ];
  let [framesDone, stepsDone] = [0, 0];
  for (const { codes, hidden } of speeches) {
    for (let at = 0; at < codes.length; at += CODES_PER_FRAME, framesDone++) {
      const from = (at / CODES_PER_FRAME) * width;
      const first = rows.ofFrame(hidden.slice(from, from + width), codes[at]);
      if (framesWanted.has(framesDone)) {
        setFrameInputs(frame.chain, first, checkpoint, framesDone);
        frame.set.add((name) => frame.chain.floats(name));
      }
      for (let group = 1; group < CODES_PER_FRAME; group++, stepsDone++) {
        setStepInputs(step.chain, group === 1 ? first : rows.ofCode(group - 1, codes[at + group - 1]), group);
        if (stepsWanted.has(stepsDone)) step.set.add((name) => step.chain.floats(name));
        step.chain.run();
      }
      advance(framesDone / frames);
    }
  }
}

/** Sets one row, or the first two, f32 [1 or 2, hidden], at their positions in the frame. */
function setStepInputs(chain: PartChain, rows: Float32Array, group: number): void {
  const [x, position] = [chain.floats("x").fill(0), chain.floats("position").fill(0)];
  x.set(rows, x.length - rows.length);
  position[CODES_PER_FRAME + group] = 1;
  if (group === 1) position[0] = 1;
}

/** Alternates between the model's own sampling settings and the likeliest codes. */
function setFrameInputs(
  chain: PartChain,
  rows: Float32Array,
  { generation }: Checkpoint,
  frame: number,
): void {
  chain.floats("x").set(rows);
  const [noise, limit] = [chain.floats("noise").fill(0), chain.floats("limit").fill(0)];
  const isGreedy = frame % 2 === 1;
  if (!isGreedy) noise.set(gumbelNoise(noise.length, frame));
  chain.floats("sharpness")[0] = isGreedy
    ? 1
    : 1 / generation.number("subtalker_temperature", SAMPLING_DEFAULTS.temperature);
  const best = isGreedy ? 1 : generation.count("subtalker_top_k", SAMPLING_DEFAULTS.topK);
  const unlimited = limit.length - 1;
  limit[best >= 1 && best <= unlimited ? best - 1 : unlimited] = 1;
}

/** Makes input rows of the predictor's width. */
class PredictorRows {
  private readonly tables: Tensor[];
  private readonly projection: { weight: Float32Array; bias: Float32Array } | null;

  constructor(private readonly checkpoint: Checkpoint) {
    const { codecVocabulary, codes, predictor, talker, weights } = checkpoint;
    const name = "talker.code_predictor";
    this.tables = Array.from({ length: CODES_PER_FRAME - 1 }, (_, group) => {
      if (group === 0)
        return weights.take("talker.model.codec_embedding.weight", [codecVocabulary, talker.hidden]);
      return weights.take(`${name}.model.codec_embedding.${group - 1}.weight`, [codes, talker.hidden]);
    });
    const part = `${name}.small_to_mtp_projection`;
    const take = (name: string, shape: number[]) => toFloat32(weights.take(`${part}.${name}`, shape));
    const { hidden } = predictor;
    const isProjected = weights.has(`${part}.weight`);
    this.projection = isProjected
      ? { weight: take("weight", [hidden, talker.hidden]), bias: take("bias", [hidden]) }
      : null;
  }

  /** The row of a code; `group` is 0 to 14. */
  ofCode(group: number, code: number): Float32Array {
    const table = this.tables[group];
    const width = table.shape[1];
    const rowBytes = table.bytes.length / table.shape[0];
    const bytes = table.bytes.subarray(code * rowBytes, (code + 1) * rowBytes);
    return this.ofState(toFloat32({ ...table, shape: [1, width], bytes }));
  }

  /** The row of a state of the talker, f32 [talker hidden]. */
  ofState(state: Float32Array): Float32Array {
    if (this.projection === null) return state;
    const { bias, weight } = this.projection;
    return bias.map((sum, row) => {
      for (let i = 0; i < state.length; i++) sum += weight[row * state.length + i] * state[i];
      return sum;
    });
  }

  /** The two rows that begin a frame, f32 [2, hidden]. */
  ofFrame(state: Float32Array, code0: number): Float32Array {
    const { hidden } = this.checkpoint.predictor;
    const rows = new Float32Array(2 * hidden);
    rows.set(this.ofState(state));
    rows.set(this.ofCode(0, code0), hidden);
    return rows;
  }
}

/** Independent values -ln(-ln u), from a seed: the noise of one frame. */
function gumbelNoise(length: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const uniform = Math.min(1 - LEAST_UNIFORM, Math.max(LEAST_UNIFORM, state / 2 ** 32));
    return -Math.log(-Math.log(uniform));
  });
}
