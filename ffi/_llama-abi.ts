// libllama's C interface as llama.cpp v0.5.0 has it: symbols and struct layouts.

import { asFunctions, byValue, type Layout } from "./load/struct.ts";

/** What llama_version() must answer; another version may have other layouts. */
export const LLAMA_VERSION = "0.5.0-dev";

export const MODEL_PARAMS: Layout<"nGpuLayers" | "splitMode" | "loadMode" | "lazyMode" | "useExtraBufts"> = {
  size: 80,
  fields: {
    nGpuLayers: [16, "i32"],
    splitMode: [20, "i32"],
    loadMode: [24, "i32"],
    lazyMode: [28, "i32"],
    useExtraBufts: [74, "u8"],
  },
  defaults: { nGpuLayers: -1, splitMode: 1, loadMode: -1, lazyMode: 1, useExtraBufts: 1 },
};

export const CONTEXT_PARAMS: Layout<
  | "nCtx"
  | "nBatch"
  | "nUbatch"
  | "nSeqMax"
  | "nOutputsMaxPerSeq"
  | "nThreads"
  | "nThreadsBatch"
  | "ropeScalingType"
  | "poolingType"
  | "attentionType"
  | "flashAttnType"
  | "yarnExtFactor"
  | "yarnAttnFactor"
  | "yarnBetaFast"
  | "yarnBetaSlow"
  | "defragThold"
  | "cbEval"
  | "typeK"
  | "typeV"
  | "embeddings"
  | "offloadKqv"
  | "noPerf"
  | "opOffload"
  | "swaFull"
> = {
  size: 160,
  fields: {
    nCtx: [0, "u32"],
    nBatch: [4, "u32"],
    nUbatch: [8, "u32"],
    nSeqMax: [12, "u32"],
    nOutputsMaxPerSeq: [24, "u32"],
    nThreads: [28, "i32"],
    nThreadsBatch: [32, "i32"],
    ropeScalingType: [40, "i32"],
    poolingType: [44, "i32"],
    attentionType: [48, "i32"],
    flashAttnType: [52, "i32"],
    yarnExtFactor: [64, "f32"],
    yarnAttnFactor: [68, "f32"],
    yarnBetaFast: [72, "f32"],
    yarnBetaSlow: [76, "f32"],
    defragThold: [84, "f32"],
    cbEval: [88, "u64"],
    typeK: [104, "i32"],
    typeV: [108, "i32"],
    embeddings: [128, "u8"],
    offloadKqv: [129, "u8"],
    noPerf: [130, "u8"],
    opOffload: [131, "u8"],
    swaFull: [132, "u8"],
  },
  defaults: {
    nCtx: 512,
    nBatch: 2048,
    nUbatch: 512,
    nSeqMax: 1,
    nOutputsMaxPerSeq: 1,
    nThreads: 4,
    nThreadsBatch: 4,
    ropeScalingType: -1,
    poolingType: -1,
    attentionType: -1,
    flashAttnType: -1,
    yarnExtFactor: -1,
    yarnAttnFactor: -1,
    yarnBetaFast: -1,
    yarnBetaSlow: -1,
    defragThold: -1,
    typeK: 1,
    typeV: 1,
    offloadKqv: 1,
    noPerf: 1,
    opOffload: 1,
    swaFull: 1,
  },
};

export const QUANTIZE_PARAMS: Layout<
  "nThread" | "ftype" | "outputTensorType" | "tokenEmbeddingType" | "quantizeOutputTensor" | "maxBufSize"
> = {
  size: 64,
  fields: {
    nThread: [0, "i32"],
    ftype: [4, "i32"],
    outputTensorType: [8, "i32"],
    tokenEmbeddingType: [12, "i32"],
    quantizeOutputTensor: [17, "u8"],
    maxBufSize: [56, "u64"],
  },
  defaults: {
    ftype: 7,
    outputTensorType: 43,
    tokenEmbeddingType: 43,
    quantizeOutputTensor: 1,
    maxBufSize: 8 * 2 ** 30,
  },
};

export const BATCH: Layout<"nTokens" | "token" | "embd" | "pos" | "nSeqId" | "seqId" | "logits"> = {
  size: 56,
  fields: {
    nTokens: [0, "i32"],
    token: [8, "u64"],
    embd: [16, "u64"],
    pos: [24, "u64"],
    nSeqId: [32, "u64"],
    seqId: [40, "u64"],
    logits: [48, "u64"],
  },
  defaults: {},
};

export const LLAMA_SYMBOLS = asFunctions({
  llama_version: { args: [], returns: "cstring" },
  llama_log_set: { args: ["ptr", "ptr"], returns: "void" }, // callback, user data
  // path, params
  llama_model_load_from_file: { args: ["ptr", ...byValue(MODEL_PARAMS.size)], returns: "ptr" },
  llama_model_free: { args: ["ptr"], returns: "void" },
  llama_model_get_vocab: { args: ["ptr"], returns: "ptr" },
  llama_model_n_embd: { args: ["ptr"], returns: "i32" },
  llama_vocab_n_tokens: { args: ["ptr"], returns: "i32" },
  llama_init_from_model: { args: ["ptr", ...byValue(CONTEXT_PARAMS.size)], returns: "ptr" }, // model, params
  llama_free: { args: ["ptr"], returns: "void" },
  // context, batch -> 0, 1 full, 2 aborted, < 0 wrong
  llama_decode: { args: ["ptr", ...byValue(BATCH.size)], returns: "i32" },
  // row of the batch -> f32[n_embd], after the final norm
  llama_get_embeddings_ith: { args: ["ptr", "i32"], returns: "ptr" },
  llama_get_logits_ith: { args: ["ptr", "i32"], returns: "ptr" }, // row of the batch -> f32[n_vocab]
  llama_get_memory: { args: ["ptr"], returns: "ptr" },
  llama_memory_clear: { args: ["ptr", "bool"], returns: "void" }, // memory, wipe the data too
  // memory, sequence, from, to (-1: end)
  llama_memory_seq_rm: { args: ["ptr", "i32", "i32", "i32"], returns: "bool" },
  llama_state_seq_get_size: { args: ["ptr", "i32"], returns: "u64" }, // context, sequence -> bytes
  // context, out, room, sequence -> bytes written
  llama_state_seq_get_data: { args: ["ptr", "ptr", "u64", "i32"], returns: "u64" },
  // context, from, bytes, sequence -> bytes read, 0 refused
  llama_state_seq_set_data: { args: ["ptr", "ptr", "u64", "i32"], returns: "u64" },
  llama_set_abort_callback: { args: ["ptr", "ptr", "ptr"], returns: "void" }, // context, callback, user data
  llama_set_n_threads: { args: ["ptr", "i32", "i32"], returns: "void" }, // context, for one row, for several
  // context, pool, pool for prefill
  llama_attach_threadpool: { args: ["ptr", "ptr", "ptr"], returns: "void" },
  llama_model_quantize: { args: ["ptr", "ptr", "ptr"], returns: "u32" }, // from, to, params -> 0 ok
  // Only called on x64, where the struct they return is written through a hidden first pointer.
  llama_model_default_params: { args: ["ptr"], returns: "ptr" },
  llama_context_default_params: { args: ["ptr"], returns: "ptr" },
  llama_model_quantize_default_params: { args: ["ptr"], returns: "ptr" },
});
