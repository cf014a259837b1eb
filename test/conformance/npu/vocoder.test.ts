// Every vocoder backend of an NPU passes the suite, on the stand-in for its library, which computes the
// graphs as they are.

import { isAccelerator } from "../../../src/backends/stage.ts";
import { VOCODERS } from "../../../src/backends/vocoder/index.ts";
import type { NpuName, NpuTarget } from "../../../src/npu-vendors.ts";
import { npuOptions } from "../../_npu.ts";
import { compiler, noCompiler } from "../../_standins.ts";
import { vocoderConformance } from "../vocoder.ts";

const STAND_INS: Record<string, { target: NpuTarget; library: NpuName; tolerance: number }> = {
  rknn: { target: "rknn", library: "rknn", tolerance: 4 },
  axcl: { target: "axcl", library: "axcl", tolerance: 1 },
  axengine: { target: "axcl", library: "axEngine", tolerance: 1 },
};

for (const backend of VOCODERS.filter(isAccelerator)) {
  const { library, target, tolerance } = STAND_INS[backend.name];
  vocoderConformance(backend, {
    optionsFor: (bundle, lanes = 1) => npuOptions(bundle, lanes, target, library),
    tolerance,
    chunksElsewhere: library !== "rknn",
    unable: compiler === null ? noCompiler : null,
  });
}
