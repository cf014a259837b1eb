// The code predictor on an NPU, in the form that was built: all 15 codes of a frame in one run, drawn on the
// device, because every run may cross a bus; or else one step per run, with heads and sampling on the CPU.

import { DraftWindow } from "../predictor/draft-window.ts";
import { StepwisePredictor } from "../predictor/stepwise.ts";
import type { Accelerator, Predictor } from "../stage.ts";
import { acceleratorOn, devicesFor, type NpuDevice } from "./_accelerator.ts";
import { findPredictor } from "./_predictor-files.ts";
import { FramePredictor } from "./_predictor-frame.ts";
import { CardLayers } from "./_predictor-step.ts";

const npuPredictor = (device: NpuDevice): Accelerator<Predictor> =>
  acceleratorOn<Predictor, ReturnType<typeof findPredictor>>(
    device,
    findPredictor,
    (found, options, { openModel }) => {
      if (found.kind === "frame") return new FramePredictor(found, options.bundle, openModel);
      // its graph for the layers takes one row a pass: there is no room for drafts
      const window = new DraftWindow([1], "off");
      return new StepwisePredictor(new CardLayers(found, options, openModel), window, options);
    },
  );

/** One for each vendor in src/npu-vendors.ts. */
export const NPU_PREDICTORS: readonly Accelerator<Predictor>[] = devicesFor("predictor").map(npuPredictor);
