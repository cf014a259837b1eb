// Every talker backend passes the same suite, and speaks the official codes with every code predictor that
// needs no accelerator.

import { PREDICTORS } from "../../src/backends/predictor/index.ts";
import { isAccelerator } from "../../src/backends/stage.ts";
import { TALKERS } from "../../src/backends/talker/index.ts";
import { freeRunConformance, talkerConformance } from "./talker.ts";

for (const backend of TALKERS) talkerConformance(backend);
freeRunConformance(
  TALKERS,
  PREDICTORS.filter((backend) => !isAccelerator(backend)),
);
