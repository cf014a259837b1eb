// Versions of the libraries that the interfaces in this folder are written for. Loads no library.

export { GGML_VERSION } from "./_ggml-abi.ts";
export { LLAMA_VERSION } from "./_llama-abi.ts";
export { ORT_API_VERSION } from "./_ort-slots.ts";
