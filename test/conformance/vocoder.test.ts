// Every vocoder backend passes the same suite; those of NPUs on the stand-ins for their libraries, which compute the graphs as they are.

import { VOCODERS } from "../../src/backends/index.ts";
import { type Backend, isAccelerator, type Vocoder } from "../../src/backends/stage.ts";
import type { Bundle } from "../../src/formats/bundle.ts";
import type { NpuName, NpuTarget } from "../../src/npu-vendors.ts";
import { npuOptions } from "../_npu.ts";
import { compiler, noCompiler } from "../_standins.ts";
import { vocoderConformance } from "./vocoder.ts";

const STAND_INS: Record<string, { target: NpuTarget; library: NpuName; tolerance: number }> = {
  rknn: { target: "rknn", library: "rknn", tolerance: 4 },
  axcl: { target: "axcl", library: "axcl", tolerance: 1 },
  axengine: { target: "axcl", library: "axEngine", tolerance: 1 },
};

function onStandIn(backend: Backend<Vocoder>): void {
  const { library, target, tolerance } = STAND_INS[backend.name];
  const optionsFor = (bundle: Bundle, lanes = 1) => npuOptions(bundle, lanes, target, library);
  vocoderConformance(backend, {
    optionsFor,
    tolerance,
    chunksElsewhere: library !== "rknn",
    unable: compiler === null ? noCompiler : null,
  });
}

for (const backend of VOCODERS) {
  if (!isAccelerator(backend)) vocoderConformance(backend);
  else onStandIn(backend);
}
