// The stages that NPUs can run, one backend for each vendor in src/npu-vendors.ts.

import type { Accelerator, Predictor, Vocoder } from "../stage.ts";
import { devicesFor } from "./_accelerator.ts";
import { npuPredictor } from "./_predictor.ts";
import { npuVocoder } from "./_vocoder.ts";

export const NPU_PREDICTORS: readonly Accelerator<Predictor>[] = devicesFor("predictor").map(npuPredictor);
export const NPU_VOCODERS: readonly Accelerator<Vocoder>[] = devicesFor("vocoder").map(npuVocoder);
