// Rockchip's NPU runtime (librknnrt.so) as versions 1.6 to 2.3.2 have it: symbols, struct layouts and values.
// All of it has been in every version since 1.3, so no function is optional.

import { asFunctions, type Layout } from "../load/struct.ts";

/** The oldest version with these layouts and this flag. */
export const OLDEST_VERSION = [1, 6] as const;

/** Contexts are u64. Functions return 0 or a code below. */
export const RKNN_SYMBOLS = asFunctions({
  // context out, model, its bytes, flags, extension or null
  rknn_init: { args: ["ptr", "ptr", "u32", "u32", "ptr"], returns: "i32" },
  rknn_dup_context: { args: ["ptr", "ptr"], returns: "i32" }, // a context, another out with the same weights
  rknn_destroy: { args: ["u64"], returns: "i32" },
  rknn_query: { args: ["u64", "i32", "ptr", "u32"], returns: "i32" }, // context, command, answer, its bytes
  rknn_set_core_mask: { args: ["u64", "i32"], returns: "i32" }, // context, bits; chips with several cores only
  rknn_run: { args: ["u64", "ptr"], returns: "i32" }, // context, null; returns when it has run
  // context, bytes -> rknn_tensor_mem, or null: no memory
  rknn_create_mem: { args: ["u64", "u32"], returns: "ptr" },
  rknn_destroy_mem: { args: ["u64", "ptr"], returns: "i32" },
  rknn_set_io_mem: { args: ["u64", "ptr", "ptr"], returns: "i32" }, // context, memory, rknn_tensor_attr
});

export const QUERY = { inOutNum: 0, inputAttr: 1, outputAttr: 2, sdkVersion: 5 } as const;
/** Otherwise the runtime gives this process a priority above everything else. */
export const FLAG_DISABLE_PROC_HIGH_PRIORITY = 0x2000;
export const TENSOR_TYPES = [
  "f32",
  "f16",
  "i8",
  "u8",
  "i16",
  "u16",
  "i32",
  "u32",
  "i64",
  "bool",
  "i4",
  "bf16",
] as const;
export const [TYPE_F32, TYPE_F16] = [0, 1];
export const INPUT_OUTPUT_NUM: Layout<"nInput" | "nOutput"> = {
  size: 8,
  fields: { nInput: [0, "u32"], nOutput: [4, "u32"] },
  defaults: {},
};

/** The caller sets index to choose the tensor. */
export const TENSOR_ATTR: Layout<
  "index" | "nDims" | "nElems" | "size" | "type" | "wStride" | "sizeWithStride" | "passThrough"
> = {
  size: 376,
  fields: {
    index: [0, "u32"],
    nDims: [4, "u32"],
    nElems: [328, "u32"],
    size: [332, "u32"],
    type: [340, "i32"],
    wStride: [360, "u32"],
    sizeWithStride: [364, "u32"],
    passThrough: [368, "u8"],
  },
  defaults: {},
};

export const SDK_VERSION: Layout<never> = { size: 512, fields: {}, defaults: {} };

/** Owned by the runtime. */
export const TENSOR_MEM: Layout<"virtAddr" | "size"> = {
  size: 40,
  fields: { virtAddr: [0, "u64"], size: [24, "u32"] },
  defaults: {},
};

/** Arrays inside those structs: [byte offset, bytes]. Texts end with a 0. */
export const ARRAYS = {
  attrDims: [8, 64], // u32[16]
  attrName: [72, 256],
  apiVersion: [0, 256],
  driverVersion: [256, 256],
} as const;
