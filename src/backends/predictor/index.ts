// The code predictor's backends.

import { NPU_PREDICTORS } from "../npu/predictor.ts";
import type { Backend, Predictor } from "../stage.ts";
import { predictorLlama } from "./llama.ts";
import { predictorOrt } from "./ort.ts";

/** In the order that `auto` tries them where nothing was measured. */
export const PROCESSOR_PREDICTORS = [predictorLlama, predictorOrt] as const;
/** Accelerators come first. */
export const PREDICTORS: readonly Backend<Predictor>[] = [...NPU_PREDICTORS, ...PROCESSOR_PREDICTORS];
