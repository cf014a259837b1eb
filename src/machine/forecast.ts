// How fast a model will be here, and how much memory it takes, forecast before it is here from the cost of a
// frame and the speed of this machine. Pure arithmetic. Constants that were fitted once to tts bench stand
// for all that the count of weights leaves out: expect errors of 25 %.

import { CODES_PER_FRAME, FRAMES_PER_SECOND } from "../types.ts";
import type { Speed } from "./compute-speed.ts";
import type { FrameCosts } from "./frame-cost.ts";

const FRAME_MS = 1000 / FRAMES_PER_SECOND;
/**
 * The forecast is for the sentence of tts bench: rows of its prompt, frames of speech, and frames whose sound
 * comes after the last code.
 */
const [PROMPT_ROWS, FRAMES, LAST_FRAMES] = [75, 50, 4];
/** Reading weights takes longer by this factor while the vocoder reads its own. */
const SHARED_MEMORY = 1.09;
/**
 * Norms, rotations and attention of a layer, counted as calls with the smallest product. The talker has more,
 * because it attends to all it has said.
 */
const CALLS_PER_LAYER = { talker: 190, predictor: 40 } as const;
/** What a prompt takes beside its products: attention, and planning its graph. */
const [PROMPT_EFFICIENCY, PROMPT_CALLS] = [0.85, 18_000];
/** The vocoder's work beside its convolutions, in multiplications per frame. */
const VOCODER_REST = 1.3e8;
/** Memory of the program with its libraries, and of the vocoder per byte of its weights. */
const [PROGRAM_BYTES, VOCODER_COPIES] = [163e6, 1.33];
/** A conversion writes the talker in bf16 first. */
const [CONVERSION_BYTES, BF16_BYTES] = [1e8, 2];

/** What a forecast needs to know of a model. */
export interface Forecastable {
  costs: FrameCosts & { vocoder: NonNullable<FrameCosts["vocoder"]> };
  layers: { talker: number; predictor: number };
  weights: { talker: keyof Speed["weights"]; predictor: keyof Speed["weights"] };
}

export interface Forecast {
  /** Below 1 is faster than real time. */
  rtf: number;
  firstSoundMs: number;
  msPerFrame: { talker: number; predictor: number; vocoder: number };
  /** Weights of talker and predictor that every frame reads. */
  bytesPerFrame: number;
  /** Memory while it speaks, and while its checkpoint is converted. */
  memoryBytes: number;
  conversionBytes: number;
}

/** @param cores with one core, the vocoder cannot work beside the other stages */
export function forecast({ costs, layers, weights }: Forecastable, speed: Speed, cores: number): Forecast {
  const readMs = (stage: "talker" | "predictor") =>
    (SHARED_MEMORY * 1000 * costs[stage].bytes) / speed.weights[weights[stage]];
  const layerMs = (stage: "talker" | "predictor") => layers[stage] * CALLS_PER_LAYER[stage] * speed.callMs;
  const talker = readMs("talker") + layerMs("talker");
  const predictor = readMs("predictor") + (CODES_PER_FRAME - 1) * layerMs("predictor");
  const vocoder = (1000 * (costs.vocoder.multiplications + VOCODER_REST)) / speed.vocoder;
  const generation = talker + predictor;
  const frame = cores > 1 ? Math.max(generation, vocoder) : generation + vocoder;
  const promptProducts =
    (1000 * PROMPT_ROWS * costs.talker.multiplications) / (PROMPT_EFFICIENCY * speed.prompt);
  const prompt = promptProducts + PROMPT_CALLS * speed.callMs;
  // its layers, and a small part of its heads
  const predictorBytes = costs.predictor.bytes / (CODES_PER_FRAME - 1);
  return {
    rtf: (prompt + FRAMES * frame + LAST_FRAMES * vocoder) / (FRAMES * FRAME_MS),
    firstSoundMs: prompt + generation + vocoder,
    msPerFrame: { talker, predictor, vocoder },
    bytesPerFrame: costs.talker.bytes + costs.predictor.bytes,
    memoryBytes: PROGRAM_BYTES + costs.talker.bytes + predictorBytes + VOCODER_COPIES * costs.vocoder.bytes,
    conversionBytes: CONVERSION_BYTES + BF16_BYTES * costs.talker.multiplications,
  };
}
