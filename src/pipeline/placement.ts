// Sets where a stage's thread computes, and how long its process lives. Call it before any library is loaded:
// the library's threads inherit the cores.

import { nameThread, pinThread } from "../../ffi/libc.ts";
import type { Config } from "../config.ts";
import { formatCores } from "../cores.ts";
import type { StageName } from "../types.ts";

export { endWithParent } from "../../ffi/libc.ts";

/**
 * Names the calling thread after its stage and keeps it to the stage's cores.
 * @returns a line for each thing that the system refused
 */
export function settleThread(stage: StageName, { cpus }: Config): string[] {
  nameThread(stage);
  const cores = cpus[stage];
  return cores.length > 0 && !pinThread(cores)
    ? [`the system does not let the ${stage} have cores ${formatCores(cores)}`]
    : [];
}
