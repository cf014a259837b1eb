// What decides the bits of a sound: a model's part of it, which keeps phrases apart, and the kind of a board,
// which keeps those apart that cannot make a book together.

import { version } from "../../../package.json";
import type { Engine } from "../../engine.ts";
import type { Bundle, Manifest } from "../../formats/bundle.ts";
import { newHash } from "../../io/hash.ts";
import { describeMachine } from "../../machine/load.ts";

/** Everything of a model that shapes sound; how fast it was does not. */
export const shapeOf = ({ files, libraries, prompt, reading, sampling, source }: Manifest) => ({
  ...{ files, libraries, prompt, reading, sampling, source },
});

export const hashOf = (text: string) => newHash().update(text).digest("hex");

/**
 * Engines of one kind give the same bits for the same request: the same program and model on the same
 * kernels. How an engine samples does not count, since a sentence of a book comes with that.
 * @param lexicons hashes of the pronunciation lists
 */
export function kindOf(
  { manifest }: Bundle,
  { backends, config }: Pick<Engine, "backends" | "config">,
  lexicons: readonly string[],
): string {
  const { sampling: _, ...model } = shapeOf(manifest);
  const { arch, features } = describeMachine();
  // with other weights, sentences side by side round differently
  const lanes = manifest.weights.talker === "q4_0" ? 0 : config.lanes;
  const stages = Object.entries(backends).sort(); // they come in the order in which stages have opened
  return hashOf(JSON.stringify({ version, model, stages, arch, features, lanes, lexicons })).slice(0, 32);
}
