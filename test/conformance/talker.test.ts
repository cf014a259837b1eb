// Every talker backend passes the same suite, and speaks the official codes with every code predictor that
// needs no accelerator.

import { PREDICTORS, TALKERS } from "../../src/backends/index.ts";
import { isAccelerator } from "../../src/backends/stage.ts";
import { freeRunConformance, talkerConformance } from "./talker.ts";

for (const backend of TALKERS) talkerConformance(backend);
freeRunConformance(
  TALKERS,
  PREDICTORS.filter((backend) => !isAccelerator(backend)),
);
