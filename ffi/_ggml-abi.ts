// ggml's C interface as llama.cpp v0.5.0 has it: symbols and struct layouts. Three libraries hold it. The
// file name of the CPU code depends on the processor, so its functions are asked for by name once it is
// loaded.

import { asFunctions, byValue, type Layout } from "./load/struct.ts";

/** What ggml_version() must answer; another version may have other layouts. */
export const GGML_VERSION = "0.25.1";

/** memBuffer 0: ggml takes the memory itself. */
export const GGML_INIT_PARAMS: Layout<"memSize" | "memBuffer" | "noAlloc"> = {
  size: 24,
  fields: { memSize: [0, "u64"], memBuffer: [8, "u64"], noAlloc: [16, "u8"] },
  defaults: {},
};

/** Length of cpumask, an array of bools at offset 0. */
export const THREADPOOL_CORES = 512;
export const THREADPOOL_PARAMS: Layout<"nThreads" | "poll" | "strictCpu"> = {
  size: 528,
  fields: { nThreads: [512, "i32"], poll: [520, "u32"], strictCpu: [524, "u8"] },
  defaults: { poll: 50 },
};

/**
 * A tensor: `ne` are its sizes, the contiguous one first; `name` is 64 bytes of text; `buffer` says where
 * `data` lies, `extra` which kernels it is for.
 */
export const GGML_TENSOR: Layout<"buffer" | "ne[0]" | "ne[1]" | "data" | "name" | "extra"> = {
  size: 336,
  fields: {
    buffer: [8, "u64"],
    "ne[0]": [16, "u64"],
    "ne[1]": [24, "u64"],
    data: [248, "u64"],
    name: [256, "u8"],
    extra: [320, "u64"],
  },
  defaults: {},
};

/** libggml: the registry of what can compute. */
export const GGML_SYMBOLS = asFunctions({
  ggml_backend_load_all_from_path: { args: ["ptr"], returns: "void" }, // folder of the CPU variants
  ggml_backend_reg_count: { args: [], returns: "u64" },
  ggml_backend_reg_by_name: { args: ["ptr"], returns: "ptr" },
  ggml_backend_init_by_type: { args: ["i32", "ptr"], returns: "ptr" }, // device type, parameters -> backend
});

/**
 * libggml-base: tensors and graphs. Most of it ends the process when its arguments do not fit: check them
 * first.
 */
export const GGML_BASE_SYMBOLS = asFunctions({
  ggml_version: { args: [], returns: "cstring" },
  ggml_commit: { args: [], returns: "cstring" },
  ggml_init: { args: byValue(GGML_INIT_PARAMS.size, 0), returns: "ptr" }, // params -> context
  ggml_free: { args: ["ptr"], returns: "void" },
  ggml_tensor_overhead: { args: [], returns: "u64" }, // bytes a tensor takes of a context
  // nodes, gradients too -> the same of a graph
  ggml_graph_overhead_custom: { args: ["u64", "bool"], returns: "u64" },
  ggml_row_size: { args: ["i32", "i64"], returns: "u64" }, // type, elements -> bytes
  // context, type, row length, rows
  ggml_new_tensor_2d: { args: ["ptr", "i32", "i64", "i64"], returns: "ptr" },
  // context, a [rows, width], b [n, width] -> f32 [n, rows]
  ggml_mul_mat: { args: ["ptr", "ptr", "ptr"], returns: "ptr" },
  ggml_new_graph_custom: { args: ["ptr", "u64", "bool"], returns: "ptr" }, // context, nodes, gradients too
  ggml_build_forward_expand: { args: ["ptr", "ptr"], returns: "void" }, // graph, result
  // type, f32 from, to, first, rows, row length, importance
  ggml_quantize_chunk: { args: ["i32", "ptr", "ptr", "i64", "i64", "i64", "ptr"], returns: "u64" },
  ggml_backend_reg_get_proc_address: { args: ["ptr", "ptr"], returns: "ptr" }, // registry, name
  ggml_backend_reg_dev_get: { args: ["ptr", "u64"], returns: "ptr" }, // registry, number -> device
  ggml_backend_supports_op: { args: ["ptr", "ptr"], returns: "bool" }, // backend, result
  ggml_backend_get_default_buffer_type: { args: ["ptr"], returns: "ptr" },
  ggml_backend_buft_name: { args: ["ptr"], returns: "cstring" }, // buffer type
  ggml_backend_buft_alloc_buffer: { args: ["ptr", "u64"], returns: "ptr" }, // type, bytes -> buffer, or null
  ggml_backend_buffer_get_type: { args: ["ptr"], returns: "ptr" },
  ggml_backend_buffer_set_usage: { args: ["ptr", "i32"], returns: "void" },
  ggml_backend_buffer_init_tensor: { args: ["ptr", "ptr"], returns: "i32" }, // buffer, tensor -> 0 ok
  ggml_nbytes: { args: ["ptr"], returns: "u64" }, // tensor
  // context, buffer type -> buffer, or null: no memory
  ggml_backend_alloc_ctx_tensors_from_buft: { args: ["ptr", "ptr"], returns: "ptr" },
  // memory aligned to 32, bytes -> buffer over it
  ggml_backend_cpu_buffer_from_ptr: { args: ["ptr", "u64"], returns: "ptr" },
  // buffer, tensor, address in it -> 0 ok
  ggml_backend_tensor_alloc: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  // tensor, from, at byte, bytes
  ggml_backend_tensor_set: { args: ["ptr", "ptr", "u64", "u64"], returns: "void" },
  ggml_backend_graph_compute: { args: ["ptr", "ptr"], returns: "i32" }, // backend, graph -> 0 ok
  ggml_backend_buffer_free: { args: ["ptr"], returns: "void" },
  ggml_backend_free: { args: ["ptr"], returns: "void" },
});

/** The loaded CPU code. */
export const GGML_CPU_SYMBOLS = asFunctions({
  ggml_threadpool_new: { args: ["ptr"], returns: "ptr" }, // params
  ggml_threadpool_free: { args: ["ptr"], returns: "void" },
  ggml_backend_set_n_threads: { args: ["ptr", "i32"], returns: "void" }, // backend, threads
  ggml_backend_cpu_set_threadpool: { args: ["ptr", "ptr"], returns: "void" }, // backend, pool
  ggml_backend_get_features: { args: ["ptr"], returns: "ptr" }, // registry -> names and values, null-ended
  // device -> null-ended list of buffer types
  ggml_backend_dev_get_extra_bufts: { args: ["ptr"], returns: "ptr" },
});
