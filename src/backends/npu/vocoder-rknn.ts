// The codec decoder on the NPU of an RK3588.

import { loadRknn, openRknnModel } from "../../../ffi/npu/rknn.ts";
import { type NpuVendor, npuVocoder } from "./_vocoder.ts";

const RKNN: NpuVendor = {
  name: "rknn",
  target: "rknn",
  load: ({ allowStandIn, libraries }) => loadRknn({ override: libraries.rknn, allowStandIn }),
  openModel: openRknnModel,
};

export const vocoderRknn = npuVocoder(RKNN);
