// The codec decoder on the NPU of a board that is an AX650N itself. It takes the models of the card.

import { loadAxEngine, openAxEngineModel } from "../../../ffi/npu/ax-engine.ts";
import { isOnChip } from "./_folder.ts";
import { type NpuVendor, npuVocoder } from "./_vocoder.ts";

const AX_ENGINE: NpuVendor = {
  name: "axengine",
  target: "axcl",
  isHere: isOnChip,
  load: ({ allowStandIn, libraries }) => loadAxEngine({ override: libraries.axEngine, allowStandIn }),
  openModel: openAxEngineModel,
};

export const vocoderAxengine = npuVocoder(AX_ENGINE);
