// The code predictor on an AX650N card, in the form that was built: all 15 codes of a frame in one run, drawn on the card, because every run
// crosses the bus; or else a step a run, with heads and sampling on the CPU.

import { loadAxcl, openAxclModel } from "../../ffi/axcl.ts";
import { findPredictor, isPreparedForCard } from "./_npu-predictor.ts";
import { FramePredictor } from "./_npu-predictor-frame.ts";
import { CardLayers } from "./_npu-predictor-step.ts";
import { StepwisePredictor } from "./_stepwise.ts";
import type { Backend, Predictor } from "./index.ts";

export const predictorAxcl: Backend<Predictor> = {
  name: "axcl",
  isPrepared: isPreparedForCard,
  probe: () => null, // opening tells
  open: (options) => {
    const { config, bundle, lanes } = options;
    const found = findPredictor(options);
    loadAxcl({ override: config.libraries.axcl, allowStandIn: config.allowStandIn });
    if (found.kind === "frame") return new FramePredictor(found, bundle, openAxclModel);
    return new StepwisePredictor(bundle, new CardLayers(found, options, openAxclModel), lanes);
  },
};
