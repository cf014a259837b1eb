// What the subcommands of tts voices share: their arguments, counted, and options.

import { TtsError } from "../../errors.ts";
import type { Options } from "../shared/options.ts";

export const FORCE_OPTION = {
  force: { type: "boolean", description: "Replace a voice that has the name.", group: "Output" },
} as const satisfies Options;

/**
 * The arguments of a subcommand.
 * @param names as its manual has them; those that may be missing stand in brackets
 * @throws TtsError USAGE when there are more or fewer
 */
export function named(
  subcommand: string,
  given: readonly string[],
  names: readonly string[],
): readonly string[] {
  const least = names.filter((name) => !name.startsWith("[")).length;
  if (given.length >= least && given.length <= names.length) return given;
  const call = ["tts voices", subcommand, ...names].join(" ");
  throw new TtsError("USAGE", `voices ${subcommand} got ${given.length} arguments`, `write ${call}`);
}
