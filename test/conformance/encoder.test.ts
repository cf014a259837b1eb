// Every encoder backend passes the same suite.

import { ENCODERS } from "../../src/backends/encoder/index.ts";
import { encoderConformance } from "./encoder.ts";

for (const backend of ENCODERS) encoderConformance(backend);
