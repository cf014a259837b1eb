// A command line as words, without a shell: nothing in it is expanded, and no program but the named one runs.

import { TtsError } from "../../errors.ts";

/** A stretch in quotes, a character behind a backslash, or plain characters. */
const PART = /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)/gsy;

/**
 * Words as a shell would read them: blanks separate; quotes and backslashes keep them together.
 * @throws TtsError USAGE for a quote without its end
 */
export function wordsOf(line: string): string[] {
  const words: string[] = [];
  for (let at = 0; ; ) {
    at += /^\s*/.exec(line.slice(at))![0].length;
    if (at === line.length) return words;
    let word = "";
    for (; at < line.length && !/\s/.test(line[at]); at = PART.lastIndex) {
      PART.lastIndex = at;
      const part = PART.exec(line);
      if (part === null)
        throw new TtsError("USAGE", `the player is "${line}": a quote or backslash has no end`, "close it");
      const [, single, double, escaped, plain] = part;
      word += single ?? double?.replace(/\\(["\\])/g, "$1") ?? escaped ?? plain;
    }
    words.push(word);
  }
}
