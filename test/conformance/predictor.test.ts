// Every code predictor backend passes the same suite; that of a card on the stand-in for its library.

import { PREDICTORS } from "../../src/backends/index.ts";
import { isAccelerator } from "../../src/backends/stage.ts";
import type { Bundle } from "../../src/formats/bundle.ts";
import { npuOptions } from "../_npu.ts";
import { compiler, noCompiler } from "../_standins.ts";
import { predictorConformance } from "./predictor.ts";

const onCard = (kind: "step" | "frame") => ({
  title: `, a ${kind} a run`,
  drawsInside: kind === "frame",
  optionsFor: (bundle: Bundle, lanes = 1) => npuOptions(bundle, lanes, "axcl", "axcl", kind),
  unable: compiler === null ? noCompiler : null,
});

for (const backend of PREDICTORS) {
  if (!isAccelerator(backend)) predictorConformance(backend);
  else for (const kind of ["frame", "step"] as const) predictorConformance(backend, onCard(kind));
}
