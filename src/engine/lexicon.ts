// The pronunciation lists of an engine: the user's own, which is there for all models, and what was given.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { readTextFile } from "../io/read.ts";
import { Lexicon, type Pronunciation, parseLexicon, pronunciationsOf } from "../text/lexicon.ts";

/** A file, or word -> how to say it. */
export type LexiconSource = string | Iterable<readonly [string, string]> | Readonly<Record<string, string>>;

export interface Pronunciations {
  lexicon: Lexicon;
  /**
   * Those that a caller wants for this model, so all have to fit it; of the user's own only those that a text
   * has.
   */
  given: readonly Pronunciation[];
}

/** @throws TtsError USAGE, INPUT_UNREADABLE, TEXT_ENCODING, TEXT_TOO_LONG */
export async function readLexicons(configDir: string, source?: LexiconSource): Promise<Pronunciations> {
  const own = join(configDir, "lexicon.txt");
  const users = existsSync(own) ? await readLexicon(own) : [];
  const given = source === undefined ? [] : await entriesOf(source);
  return { lexicon: new Lexicon([...users, ...given]), given };
}

async function entriesOf(source: LexiconSource): Promise<Pronunciation[]> {
  if (typeof source === "string") return readLexicon(source);
  if (typeof source !== "object" || source === null)
    throw new TtsError(
      "USAGE",
      `the lexicon is ${JSON.stringify(source)}`,
      "give a file, or words and how to say them",
    );
  return pronunciationsOf(Symbol.iterator in source ? source : Object.entries(source));
}

const readLexicon = async (path: string) => parseLexicon(await readTextFile(path, LIMITS.lexiconBytes), path);
