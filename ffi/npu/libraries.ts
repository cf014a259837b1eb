// The vendors' libraries by their names in src/npu-vendors.ts. Importing this opens none of them.

import type { NpuName } from "../../src/npu-vendors.ts";
import { describeAxEngine, loadAxEngine, openAxEngineModel } from "./ax-engine.ts";
import { describeAxcl, loadAxcl, openAxclModel } from "./axcl.ts";
import type { NpuRuntime } from "./model.ts";
import { describeRknn, loadRknn, openRknnModel, rknnCaller } from "./rknn.ts";

export const NPU_LIBRARIES: Readonly<Record<NpuName, NpuRuntime>> = {
  rknn: { load: loadRknn, describe: describeRknn, openModel: openRknnModel, caller: rknnCaller },
  axcl: { load: loadAxcl, describe: describeAxcl, openModel: openAxclModel },
  axEngine: { load: loadAxEngine, describe: describeAxEngine, openModel: openAxEngineModel },
};
