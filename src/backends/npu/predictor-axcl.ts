// The code predictor on an AX650N card, in the form that was built: all 15 codes of a frame in one run, drawn on the card, because every run
// crosses the bus; or else a step a run, with heads and sampling on the CPU.

import { loadAxcl, openAxclModel } from "../../../ffi/npu/axcl.ts";
import type { Accelerator, OpenOptions, Predictor } from "../stage.ts";
import { StepwisePredictor } from "../stepwise.ts";
import { reasonOf } from "./_folder.ts";
import { findPredictor, isPreparedForCard } from "./_predictor.ts";
import { FramePredictor } from "./_predictor-frame.ts";
import { CardLayers } from "./_predictor-step.ts";

const load = ({ config: { allowStandIn, libraries } }: OpenOptions) => loadAxcl({ override: libraries.axcl, allowStandIn });

export const predictorAxcl: Accelerator<Predictor> = {
  name: "axcl",
  isPrepared: isPreparedForCard,
  probe: (options) =>
    reasonOf(() => {
      findPredictor(options);
      load(options);
    }),
  open: (options) => {
    const { bundle, lanes } = options;
    const found = findPredictor(options);
    load(options);
    if (found.kind === "frame") return new FramePredictor(found, bundle, openAxclModel);
    return new StepwisePredictor(bundle, new CardLayers(found, options, openAxclModel), lanes);
  },
};
