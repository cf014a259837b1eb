// The codec decoder on an AX650N card.

import { loadAxcl, openAxclModel } from "../../ffi/axcl.ts";
import { isOnChip } from "./_npu-folder.ts";
import { type NpuVendor, npuVocoder } from "./_npu-vocoder.ts";

const AXCL: NpuVendor = {
  name: "axcl",
  target: "axcl",
  isHere: (options) => !isOnChip(options),
  load: ({ allowStandIn, libraries }) => loadAxcl({ override: libraries.axcl, allowStandIn }),
  openModel: openAxclModel,
};

export const vocoderAxcl = npuVocoder(AXCL);
