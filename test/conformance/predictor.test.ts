// Every code predictor backend passes the same suite.

import { PREDICTORS } from "../../src/backends/index.ts";
import { predictorConformance } from "./predictor.ts";

for (const backend of PREDICTORS) predictorConformance(backend);
