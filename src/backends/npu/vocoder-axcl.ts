// The codec decoder on an AX650N card.

import { loadAxcl, openAxclModel } from "../../../ffi/npu/axcl.ts";
import { isOnChip } from "./_folder.ts";
import { type NpuVendor, npuVocoder } from "./_vocoder.ts";

const AXCL: NpuVendor = {
  name: "axcl",
  target: "axcl",
  isHere: (options) => !isOnChip(options),
  load: ({ allowStandIn, libraries }) => loadAxcl({ override: libraries.axcl, allowStandIn }),
  openModel: openAxclModel,
};

export const vocoderAxcl = npuVocoder(AXCL);
