// The vocoder's backends: accelerators come first.

import { NPU_VOCODERS } from "../npu/vocoder.ts";
import type { Backend, Vocoder } from "../stage.ts";
import { vocoderOrt } from "./ort.ts";

export const VOCODERS: readonly Backend<Vocoder>[] = [...NPU_VOCODERS, vocoderOrt];
