// The OrtApi table: a C struct of function pointers that only ever grows. Number of each slot used, and its C
// arguments. Status functions return NULL or an OrtStatus*; `out` arguments point at 8 bytes.

import type { FFIType } from "bun:ffi";

type Arg = "ptr" | "u64" | "i32" | "i64";
const status = (slot: number, ...args: Arg[]) => ({
  slot,
  args: args as unknown as FFIType[],
  returns: "ptr" as const,
});
const release = (slot: number) => ({ slot, args: ["ptr"] as unknown as FFIType[], returns: "void" as const });

export const ORT_SLOTS = {
  GetErrorCode: { slot: 1, args: ["ptr"] as unknown as FFIType[], returns: "i32" as const },
  GetErrorMessage: { slot: 2, args: ["ptr"] as unknown as FFIType[], returns: "cstring" as const },
  CreateEnv: status(3, "i32", "ptr", "ptr"), // log level, log id, out
  CreateSession: status(7, "ptr", "ptr", "ptr", "ptr"), // env, path, options, out
  CreateSessionFromArray: status(8, "ptr", "ptr", "u64", "ptr", "ptr"), // env, bytes, length, options, out
  // session, run options, names, values, n, names, n, values
  Run: status(9, "ptr", "ptr", "ptr", "ptr", "u64", "ptr", "u64", "ptr"),
  CreateSessionOptions: status(10, "ptr"), // out
  DisableMemPattern: status(17, "ptr"),
  SetSessionLogSeverityLevel: status(22, "ptr", "i32"),
  SetSessionGraphOptimizationLevel: status(23, "ptr", "i32"),
  SetIntraOpNumThreads: status(24, "ptr", "i32"),
  SetInterOpNumThreads: status(25, "ptr", "i32"),
  SessionGetInputCount: status(30, "ptr", "ptr"),
  SessionGetOutputCount: status(31, "ptr", "ptr"),
  SessionGetInputTypeInfo: status(33, "ptr", "u64", "ptr"), // session, index, out
  SessionGetOutputTypeInfo: status(34, "ptr", "u64", "ptr"),
  SessionGetInputName: status(36, "ptr", "u64", "ptr", "ptr"), // session, index, allocator, out
  SessionGetOutputName: status(37, "ptr", "u64", "ptr", "ptr"),
  CreateRunOptions: status(39, "ptr"), // out
  // memory, data, bytes, shape, rank, type, out
  CreateTensorWithDataAsOrtValue: status(49, "ptr", "ptr", "u64", "ptr", "u64", "i32", "ptr"),
  CastTypeInfoToTensorInfo: status(55, "ptr", "ptr"), // the result belongs to the type info
  GetTensorElementType: status(60, "ptr", "ptr"),
  GetDimensionsCount: status(61, "ptr", "ptr"),
  GetDimensions: status(62, "ptr", "ptr", "u64"), // info, i64[], n; -1 is a free dimension
  CreateCpuMemoryInfo: status(69, "i32", "i32", "ptr"), // allocator type, memory type, out
  AllocatorFree: status(76, "ptr", "ptr"),
  GetAllocatorWithDefaultOptions: status(78, "ptr"),
  ReleaseStatus: release(93),
  ReleaseSession: release(95),
  ReleaseValue: release(96),
  ReleaseTypeInfo: release(98),
  ReleaseSessionOptions: release(100),
  AddSessionConfigEntry: status(130, "ptr", "ptr", "ptr"), // options, key, value
} as const;

export type OrtSlot = keyof typeof ORT_SLOTS;
/** The table is asked for by this number; every slot above has been in it since long before. */
export const ORT_API_VERSION = 20;
export const ORT_TYPE = { f32: 1, i32: 6, i64: 7, f16: 10 } as const;
export type OrtType = keyof typeof ORT_TYPE;
