// Every talker backend passes the same suite, and speaks the official codes with every code predictor: that of a card on the stand-in for its
// library.

import { PREDICTORS, TALKERS } from "../../src/backends/index.ts";
import { isAccelerator } from "../../src/backends/stage.ts";
import { npuOptions } from "../_npu.ts";
import { compiler, noCompiler } from "../_standins.ts";
import { freeRunConformance, talkerConformance } from "./talker.ts";

for (const backend of TALKERS) talkerConformance(backend);
const [onCard, onProcessor] = [true, false].map((prepared) => PREDICTORS.filter((backend) => isAccelerator(backend) === prepared));
freeRunConformance(TALKERS, onProcessor);
if (compiler === null) console.log(`code predictor on a card${noCompiler}`);
else freeRunConformance(TALKERS, onCard, (bundle) => npuOptions(bundle, 1, "axcl", "axcl"));
