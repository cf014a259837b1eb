// What decides the bits of a sound: a model's part of it, which keeps phrases apart, and the kind of a board,
// which keeps those apart that cannot make a book together.

import { join } from "node:path";
import { version } from "../../../package.json";
import type { Engine } from "../../engine.ts";
import type { Bundle, Manifest } from "../../formats/bundle.ts";
import { NPU_IN_BUNDLE, NPU_MANIFEST } from "../../formats/npu-folder.ts";
import { newHash } from "../../io/hash.ts";
import { textOrEmpty } from "../../io/read.ts";
import { describeMachine } from "../../machine/load.ts";
import { NPU_NAMES } from "../../npu-vendors.ts";

/** Everything of a model that shapes sound; how fast it was does not. */
export const shapeOf = ({ files, libraries, prompt, reading, sampling, source }: Manifest) => ({
  ...{ files, libraries, prompt, reading, sampling, source },
});

export const hashOf = (text: string) => newHash().update(text).digest("hex");

/** What of a machine's settings decides bits. */
interface Settings {
  bundle: Bundle;
  /** Hashes of the pronunciation lists. */
  lexicons: readonly string[];
  machine: { npu?: string };
}

/**
 * Engines of one kind give the same bits for the same request: the same program and model on the same
 * kernels. How an engine samples does not count, since a sentence of a book comes with that.
 */
export function kindOf(
  { bundle, lexicons, machine }: Settings,
  { backends, config }: Pick<Engine, "backends" | "config">,
): string {
  const { directory, manifest } = bundle;
  const { sampling: _, ...model } = shapeOf(manifest);
  const { arch, features } = describeMachine();
  const stages = Object.entries(backends).sort(); // they come in the order in which stages have opened
  const usesNpu = stages.some(([, backend]) => NPU_NAMES.some((name) => name === backend));
  const npu = usesNpu ? textOrEmpty(join(machine.npu ?? join(directory, NPU_IN_BUNDLE), NPU_MANIFEST)) : "";
  // with other weights, sentences side by side round differently
  const lanes = manifest.weights.talker === "q4_0" ? 0 : config.lanes;
  const shape = { version, model, stages, npu, arch, features, lanes, lexicons };
  return hashOf(JSON.stringify(shape)).slice(0, 32);
}
