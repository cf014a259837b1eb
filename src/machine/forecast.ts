// How fast a model will be here, and what it takes, before it is here: what a frame costs against how fast
// this machine gets through weights. Pure arithmetic. What is not in the count of weights stands in constants
// that were fitted once to tts bench: expect 25 % of error.

import { CODES_PER_FRAME, FRAMES_PER_SECOND } from "../types.ts";
import type { Speed } from "./compute-speed.ts";
import type { FrameCosts } from "./frame-cost.ts";

const FRAME_MS = 1000 / FRAMES_PER_SECOND;
/**
 * The sentence that is forecast is that of tts bench: rows of its prompt, frames of speech, frames whose
 * sound comes after the last code.
 */
const [PROMPT_ROWS, FRAMES, LAST_FRAMES] = [75, 50, 4];
/** What reading the weights takes beside the vocoder, which reads its own, set against reading them alone. */
const SHARED_MEMORY = 1.09;
/**
 * Norms, rotations and attention of a layer, in products of next to nothing; the talker looks back at all it
 * has said.
 */
const CALLS_PER_LAYER = { talker: 190, predictor: 40 } as const;
/** What a prompt has beside its products: attention, and planning its graph. */
const [PROMPT_EFFICIENCY, PROMPT_CALLS] = [0.85, 18_000];
/** What the vocoder does beside its convolutions, in multiplications of a frame. */
const VOCODER_REST = 1.3e8;
/** The program with its libraries, and the vocoder's weights with what is computed on them. */
const [PROGRAM_BYTES, VOCODER_COPIES] = [163e6, 1.33];
/** A conversion writes the talker in bf16 first. */
const [CONVERSION_BYTES, BF16_BYTES] = [1e8, 2];

/** A model as far as it matters here. */
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
  /** Of talker and predictor, read for every frame. */
  bytesPerFrame: number;
  /** While it speaks, and while its checkpoint is converted. */
  memoryBytes: number;
  conversionBytes: number;
}

/** @param cores with one core the vocoder cannot work beside the others */
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
  // its layers, and what little of the heads comes with them
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
