// The code predictor on an NPU, in the form that was built: all 15 codes of a frame in one run, drawn on the
// device, because every run may cross a bus; or else one step per run, with heads and sampling on the CPU.

import type { Accelerator, Predictor } from "../stage.ts";
import { StepwisePredictor } from "../stepwise.ts";
import { acceleratorOn, type NpuDevice } from "./_accelerator.ts";
import { findPredictor } from "./_predictor-files.ts";
import { FramePredictor } from "./_predictor-frame.ts";
import { CardLayers } from "./_predictor-step.ts";

export const npuPredictor = (device: NpuDevice): Accelerator<Predictor> =>
  acceleratorOn<Predictor, ReturnType<typeof findPredictor>>(
    device,
    findPredictor,
    (found, options, { openModel }) => {
      const { bundle, lanes } = options;
      if (found.kind === "frame") return new FramePredictor(found, bundle, openModel);
      return new StepwisePredictor(bundle, new CardLayers(found, options, openModel), lanes);
    },
  );
