// AXCL, the runtime of AXERA's cards (libaxcl_rt.so V3.10.2): symbols, struct layouts and values. Card
// addresses and handles are 64-bit words that nothing here may dereference.

import { asFunctions, type Layout } from "../load/struct.ts";

/**
 * Functions return 0 or a code of ffi/npu/_axcl-device.ts unless stated. "out" is a pointer to what the
 * function writes.
 */
export const AXCL_SYMBOLS = asFunctions({
  axclInit: { args: ["ptr"], returns: "i32" }, // settings as JSON, or null; counted in the process
  axclFinalize: { args: [], returns: "i32" },
  axclrtGetFullVersion: { args: [], returns: "ptr" }, // text
  axclrtGetDeviceList: { args: ["ptr"], returns: "i32" }, // axclrtDeviceList out
  axclrtSetDevice: { args: ["i32"], returns: "i32" }, // device id; counted in the process
  axclrtResetDevice: { args: ["i32"], returns: "i32" },
  // device id, axclrtDeviceProperties out
  axclrtGetDeviceProperties: { args: ["i32", "ptr"], returns: "i32" },
  // context out, device id; becomes that of this thread
  axclrtCreateContext: { args: ["ptr", "i32"], returns: "i32" },
  axclrtDestroyContext: { args: ["u64"], returns: "i32" },
  axclrtSetCurrentContext: { args: ["u64"], returns: "i32" },
  axclrtMalloc: { args: ["ptr", "u64", "i32"], returns: "i32" }, // card address out, bytes, policy
  axclrtFree: { args: ["u64"], returns: "i32" },
  axclrtMemset: { args: ["u64", "u8", "u64"], returns: "i32" }, // card address, byte, bytes
  axclrtMemcpy: { args: ["u64", "u64", "u64", "i32"], returns: "i32" }, // to, from, bytes, kind
  axclrtEngineInit: { args: ["i32"], returns: "i32" }, // how the cores are divided: 0 is not at all
  axclrtEngineGetVNpuKind: { args: ["ptr"], returns: "i32" }, // i32 out; fails while the engine is not up
  // path, model id out; for a file that cannot be read it returns 0 and the id is 0
  axclrtEngineLoadFromFile: { args: ["ptr", "ptr"], returns: "i32" },
  axclrtEngineUnload: { args: ["u64"], returns: "i32" }, // with its engine contexts
  axclrtEngineGetModelCompilerVersion: { args: ["u64"], returns: "ptr" }, // text, or null
  axclrtEngineCreateContext: { args: ["u64", "ptr"], returns: "i32" }, // model id, engine context id out
  axclrtEngineGetIOInfo: { args: ["u64", "ptr"], returns: "i32" }, // model id, info out
  axclrtEngineDestroyIOInfo: { args: ["u64"], returns: "i32" },
  axclrtEngineGetShapeGroupsCount: { args: ["u64", "ptr"], returns: "i32" }, // info, i32 out
  axclrtEngineGetNumInputs: { args: ["u64"], returns: "u32" }, // info -> count, or a code
  axclrtEngineGetNumOutputs: { args: ["u64"], returns: "u32" },
  // info, group, index -> bytes, or a code with its sign
  axclrtEngineGetInputSizeByIndex: { args: ["u64", "u32", "u32"], returns: "u64" },
  axclrtEngineGetOutputSizeByIndex: { args: ["u64", "u32", "u32"], returns: "u64" },
  // info, index -> text while the info lives
  axclrtEngineGetInputNameByIndex: { args: ["u64", "u32"], returns: "ptr" },
  axclrtEngineGetOutputNameByIndex: { args: ["u64", "u32"], returns: "ptr" },
  // info, group, index, axclrtEngineIODims out
  axclrtEngineGetInputDims: { args: ["u64", "u32", "u32", "ptr"], returns: "i32" },
  axclrtEngineGetOutputDims: { args: ["u64", "u32", "u32", "ptr"], returns: "i32" },
  axclrtEngineGetInputDataType: { args: ["u64", "u32", "ptr"], returns: "i32" }, // info, index, i32 out
  axclrtEngineGetOutputDataType: { args: ["u64", "u32", "ptr"], returns: "i32" },
  axclrtEngineCreateIO: { args: ["u64", "ptr"], returns: "i32" }, // info, io out
  axclrtEngineDestroyIO: { args: ["u64"], returns: "i32" },
  // By index only: the functions that take a name always mean the first tensor.
  // io, index, card address, bytes
  axclrtEngineSetInputBufferByIndex: { args: ["u64", "u32", "u64", "u64"], returns: "i32" },
  axclrtEngineSetOutputBufferByIndex: { args: ["u64", "u32", "u64", "u64"], returns: "i32" },
  // model, engine context, group, io; returns when it has run
  axclrtEngineExecute: { args: ["u64", "u64", "u32", "u64"], returns: "i32" },
});

export const HOST_TO_CARD = 1;
export const CARD_TO_HOST = 2;
export const MALLOC_POLICY = 0;
export const UNDIVIDED = 0;
/** A model of fixed shape has this group only. */
export const GROUP = 0;
export const TYPE_F32 = 15;
export const TENSOR_TYPES = [
  ...[
    "unnamed",
    "i4",
    "u4",
    "i8",
    "u8",
    "i16",
    "u16",
    "i32",
    "u32",
    "i64",
    "u64",
    "f4",
    "f8",
    "f16",
    "bf16",
    "f32",
    "f64",
  ],
] as const;

export const DEVICE_LIST: Layout<"num"> = { size: 1028, fields: { num: [0, "u32"] }, defaults: {} };

/** Temperature in thousandths of a degree, memory in KB, loads in hundredths of a percent. */
export const DEVICE_PROPERTIES: Layout<
  | "pciDomain"
  | "pciBusID"
  | "pciDeviceID"
  | "temperature"
  | "totalCmmSize"
  | "freeCmmSize"
  | "cpuLoading"
  | "npuLoading"
> = {
  size: 240,
  fields: {
    pciDomain: [72, "u32"],
    pciBusID: [76, "u32"],
    pciDeviceID: [80, "u32"],
    temperature: [84, "i32"],
    totalCmmSize: [96, "u32"],
    freeCmmSize: [100, "u32"],
    cpuLoading: [104, "u32"],
    npuLoading: [108, "u32"],
  },
  defaults: {},
};

export const IO_DIMS: Layout<"dimCount"> = { size: 132, fields: { dimCount: [0, "i32"] }, defaults: {} };

/** Arrays inside those structs: [byte offset, bytes]. */
export const ARRAYS = {
  devices: [4, 1024], // i32[256]
  swVersion: [0, 64], // text that ends with a 0
  dims: [4, 128], // i32[32]
} as const;
