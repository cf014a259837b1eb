// AXERA's engine on the chip itself (libax_engine.so and libax_sys.so, as of BSP 1.45): symbols, struct
// layouts and values.

import { asFunctions, type Layout } from "../load/struct.ts";

/** Functions return 0 or a code of ffi/npu/_ax-engine-device.ts. Handles are pointers. */
export const ENGINE_SYMBOLS = asFunctions({
  AX_ENGINE_GetVersion: { args: [], returns: "ptr" }, // text, or null
  AX_ENGINE_Init: { args: ["ptr"], returns: "i32" }, // AX_ENGINE_NPU_ATTR_T
  // the same out; fails while nobody has called Init
  AX_ENGINE_GetVNPUAttr: { args: ["ptr"], returns: "i32" },
  AX_ENGINE_Deinit: { args: [], returns: "i32" },
  AX_ENGINE_CreateHandle: { args: ["ptr", "ptr", "u32"], returns: "i32" }, // handle out, model, its bytes
  AX_ENGINE_DestroyHandle: { args: ["ptr"], returns: "i32" },
  AX_ENGINE_CreateContext: { args: ["ptr"], returns: "i32" }, // handle; it goes with the handle
  // handle, AX_ENGINE_IO_INFO_T* out, which belongs to the handle
  AX_ENGINE_GetIOInfo: { args: ["ptr", "ptr"], returns: "i32" },
  // handle, AX_ENGINE_IO_T; returns when it has run
  AX_ENGINE_RunSync: { args: ["ptr", "ptr"], returns: "i32" },
});

/** Not in every version: its answer is only used in messages. */
export const OPTIONAL_ENGINE_SYMBOLS = asFunctions({
  // handle -> text of the compiler, or null
  AX_ENGINE_GetModelToolsVersion: { args: ["ptr"], returns: "ptr" },
});

export const SYS_SYMBOLS = asFunctions({
  AX_SYS_Init: { args: [], returns: "i32" },
  AX_SYS_Deinit: { args: [], returns: "i32" },
  // u64 physical out, address out, bytes, alignment, name
  AX_SYS_MemAllocCached: { args: ["ptr", "ptr", "u32", "u32", "ptr"], returns: "i32" },
  AX_SYS_MemFree: { args: ["u64", "ptr"], returns: "i32" }, // physical, address
  // physical, address, bytes: what the CPU wrote becomes visible to the NPU
  AX_SYS_MflushCache: { args: ["u64", "ptr", "u32"], returns: "i32" },
  AX_SYS_MinvalidateCache: { args: ["u64", "ptr", "u32"], returns: "i32" }, // the NPU's writes reach the CPU
});

export const MEMORY_ALIGNMENT = 128;
export const TYPE_F32 = 3;
export const TENSOR_TYPES = [
  "unknown",
  "u8",
  "u16",
  "f32",
  "i16",
  "i8",
  "i32",
  "u32",
  "f64",
  "bf16",
] as const;
/** eHardMode: how the cores are divided; 0 makes one NPU of all of them. */
export const NPU_MODES = ["undivided", "divided", "big and little", "little and big"] as const;

export const NPU_ATTR: Layout<"eHardMode"> = { size: 36, fields: { eHardMode: [0, "i32"] }, defaults: {} };

/** Owned by the handle. */
export const IO_META: Layout<"pName" | "pShape" | "nShapeSize" | "eDataType" | "nSize"> = {
  size: 128,
  fields: {
    pName: [0, "u64"],
    pShape: [8, "u64"],
    nShapeSize: [16, "u8"],
    eDataType: [28, "i32"],
    nSize: [40, "u32"],
  },
  defaults: {},
};

/** Owned by the handle; pInputs and pOutputs are arrays of AX_ENGINE_IOMETA_T. */
export const IO_INFO: Layout<"pInputs" | "nInputSize" | "pOutputs" | "nOutputSize"> = {
  size: 128,
  fields: { pInputs: [0, "u64"], nInputSize: [8, "u32"], pOutputs: [16, "u64"], nOutputSize: [24, "u32"] },
  defaults: {},
};

export const IO_BUFFER: Layout<"phyAddr" | "pVirAddr" | "nSize"> = {
  size: 128,
  fields: { phyAddr: [0, "u64"], pVirAddr: [8, "u64"], nSize: [16, "u32"] },
  defaults: {},
};

/** pInputs and pOutputs are arrays of AX_ENGINE_IO_BUFFER_T. */
export const IO: Layout<"pInputs" | "nInputSize" | "pOutputs" | "nOutputSize"> = {
  size: 128,
  fields: { pInputs: [0, "u64"], nInputSize: [8, "u32"], pOutputs: [16, "u64"], nOutputSize: [24, "u32"] },
  defaults: {},
};
