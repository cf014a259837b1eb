// Every code predictor backend of a card passes the suite on the stand-in for its library, and every talker
// speaks the official codes with it.

import { PREDICTORS } from "../../../src/backends/predictor/index.ts";
import { isAccelerator } from "../../../src/backends/stage.ts";
import { TALKERS } from "../../../src/backends/talker/index.ts";
import type { Bundle } from "../../../src/formats/bundle.ts";
import { npuOptions } from "../../_npu.ts";
import { compiler, noCompiler } from "../../_standins.ts";
import { predictorConformance } from "../predictor.ts";
import { freeRunConformance } from "../talker.ts";

const onCard = PREDICTORS.filter(isAccelerator);
for (const backend of onCard) {
  for (const kind of ["frame", "step"] as const) {
    predictorConformance(backend, {
      title: `, a ${kind} a run`,
      drawsInside: kind === "frame",
      optionsFor: (bundle: Bundle, lanes = 1) => npuOptions(bundle, lanes, "axcl", "axcl", kind),
      unable: compiler === null ? noCompiler : null,
    });
  }
}
if (compiler === null) console.log(`code predictor on a card${noCompiler}`);
else freeRunConformance(TALKERS, onCard, (bundle) => npuOptions(bundle, 1, "axcl", "axcl"));
