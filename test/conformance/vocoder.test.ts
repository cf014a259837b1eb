// Every vocoder backend that needs no accelerator passes the same suite.

import { isAccelerator } from "../../src/backends/stage.ts";
import { VOCODERS } from "../../src/backends/vocoder/index.ts";
import { vocoderConformance } from "./vocoder.ts";

for (const backend of VOCODERS) if (!isAccelerator(backend)) vocoderConformance(backend);
