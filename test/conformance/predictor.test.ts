// Every code predictor backend that needs no accelerator passes the same suite.

import { PREDICTORS } from "../../src/backends/predictor/index.ts";
import { isAccelerator } from "../../src/backends/stage.ts";
import { predictorConformance } from "./predictor.ts";

for (const backend of PREDICTORS) if (!isAccelerator(backend)) predictorConformance(backend);
