// Every vocoder backend passes the same suite.

import { VOCODERS } from "../../src/backends/index.ts";
import { vocoderConformance } from "./vocoder.ts";

for (const backend of VOCODERS) vocoderConformance(backend);
