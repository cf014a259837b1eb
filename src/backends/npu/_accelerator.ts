// Any stage on any vendor's NPU as a backend: whether models were prepared for it, why it cannot run here,
// and which of the vendors that take the same models is the one here.

import { existsSync } from "node:fs";
import { NPU_LIBRARIES } from "../../../ffi/npu/libraries.ts";
import type { NpuRuntime } from "../../../ffi/npu/model.ts";
import type { Config } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { NPU_NAMES, NPU_VENDORS, type NpuName, type NpuStage, type NpuTarget } from "../../npu-vendors.ts";
import type { Accelerator, OpenOptions } from "../stage.ts";
import { hasModelsFor } from "./_folder.ts";

/** A vendor's library as a backend uses it. */
export interface NpuDevice extends Pick<NpuRuntime, "openModel"> {
  /** Name of the backend. */
  name: string;
  vendor: NpuName;
  target: NpuTarget;
  /** Whether this is the vendor to use here, among those that take the same models. */
  isHere(options: OpenOptions): boolean;
  /** Opens the library, once per thread. @throws TtsError LIBRARY_* */
  load(config: Config): unknown;
}

/** The vendors that can run a stage, in the table's order. */
export const devicesFor = (stage: NpuStage): NpuDevice[] =>
  NPU_NAMES.flatMap((vendor) => {
    const { [stage]: name, target } = NPU_VENDORS[vendor];
    if (name === null) return [];
    const { load, openModel } = NPU_LIBRARIES[vendor];
    return {
      name,
      vendor,
      target,
      isHere: ({ config }) => vendorHere(target, config) === vendor,
      load: ({ allowStandIn, libraries }) => load({ override: libraries[vendor], allowStandIn }),
      openModel,
    };
  });

/** The target's vendor whose library was named, else the one whose device is there, else the first. */
function vendorHere(target: NpuTarget, { libraries }: Config): NpuName {
  const rivals = NPU_NAMES.filter((vendor) => NPU_VENDORS[vendor].target === target);
  const named = rivals.find((vendor) => libraries[vendor] !== "");
  return named ?? rivals.find((vendor) => existsSync(NPU_VENDORS[vendor].node)) ?? rivals[0];
}

/**
 * @param find finds the stage's models in the folder; throws TtsError NPU_MODEL_INVALID
 * @param start opens them, after the library was loaded
 */
export function acceleratorOn<Stage, Found>(
  device: NpuDevice,
  find: (options: OpenOptions, target: NpuTarget) => Found,
  start: (found: Found, options: OpenOptions, device: NpuDevice) => Stage,
): Accelerator<Stage> {
  const prepare = (options: OpenOptions) => {
    const found = find(options, device.target);
    device.load(options.config);
    return found;
  };
  return {
    name: device.name,
    isPrepared: (options) => device.isHere(options) && hasModelsFor(options, device.target),
    probe: (options) => reasonOf(() => prepare(options)),
    open: (options) => start(prepare(options), options, device),
  };
}

/** What `check` throws, in one line, or null. */
function reasonOf(check: () => unknown): string | null {
  try {
    check();
    return null;
  } catch (error) {
    if (error instanceof TtsError) return error.inOneLine;
    throw error;
  }
}
