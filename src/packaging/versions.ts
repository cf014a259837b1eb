// The versions of the foreign libraries whose interfaces ffi/ was written for. Loads none of them.

import { GGML_VERSION, LLAMA_VERSION, ORT_API_VERSION } from "../../ffi/versions.ts";

export const BUILT_FOR = {
  llama: LLAMA_VERSION,
  ggml: GGML_VERSION,
  onnxruntimeInterface: ORT_API_VERSION,
} as const;
