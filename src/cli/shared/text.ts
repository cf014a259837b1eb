// Where the text to speak comes from: arguments, a file, or standard input.

import { LIMITS } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { readTextFile } from "../../io/read.ts";

/** The text to speak: from --input, else the arguments joined by spaces. */
export async function inputText(positionals: readonly string[], input: string | undefined): Promise<string> {
  if (input !== undefined && positionals.length > 0) {
    throw new TtsError("USAGE", "there is a text and an --input file", "give one of them");
  }
  if (input !== undefined) return readTextFile(input, LIMITS.textBytes);
  if (positionals.length === 0)
    throw new TtsError("USAGE", "there is no text to speak", 'write tts "text", or --input FILE; see --help');
  return positionals.join(" ");
}
