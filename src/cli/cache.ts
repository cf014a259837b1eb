// tts cache: lists the phrases that announcements have kept, removes them, and exempts some from being
// removed by themselves. No file and no list tells what a phrase says.

import type { Phrase, PhraseCache } from "../announce/phrases.ts";
import { partsOf } from "../announce/template.ts";
import { fileError, TtsError } from "../errors.ts";
import { printText } from "../io/output.ts";
import { nearest } from "../nearest.ts";
import { markedSentenceEnds } from "../text/markup/ends.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { log, size } from "./shared/log.ts";
import { COMMON, type Options, type Values } from "./shared/options.ts";
import { openPhrases, PHRASE_OPTIONS, readPhraseVoice } from "./shared/phrases.ts";
import { inputText } from "./shared/text.ts";

const options = {
  json: {
    type: "boolean",
    description: "Print a list of JSON objects, with sizes in bytes.",
    group: "Output",
  },
  all: {
    type: "boolean",
    description: "With clear: also phrases that were kept with tts cache keep.",
    group: "Output",
  },
  ...PHRASE_OPTIONS,
  ...COMMON,
} as const satisfies Options;
type Arguments = Values<typeof options>;

export const command = defineCommand({
  brief: "list, clear and keep what announcements have said",
  synopsis: "cache [list] [OPTIONS]  |  cache clear [OPTIONS]  |  cache keep TEXT",
  description: [
    "tts announce keeps what it has said, so that the same words sound at once the next time. A line tells the name of a phrase (a hash of its text and of everything that shapes its sound), its length, its size, when it was used last, and whether it stays. Texts are not kept.",
    "Phrases go by themselves: those that were used longest ago when there are more than 256 MB or 1024 of them, any that was not used for 60 days, and those with a time or a date in them after 2 days. keep exempts what was said or prepared with the same text and options, but for sentences with {time}, {date} or {weekday}.",
  ],
  examples: [
    ["tts cache", "one line per phrase, the last used first"],
    ['tts cache keep "Dinner is ready."', "this one stays"],
    ["tts cache clear", "removes all others"],
  ],
  sections: {
    FILES: [
      "~/.cache/qwen3-tts/phrases\nThe phrases, for you alone; TTS_CACHE names another folder than ~/.cache/qwen3-tts.",
    ],
  },
  options,
  run: async (args, { positionals: [action = "list", ...rest] }: CommandData) => {
    if (action === "keep") return keep(args, rest);
    if (action !== "list" && action !== "clear") {
      const guess = nearest(action, ["list", "clear", "keep"]);
      throw new TtsError(
        "USAGE",
        `cache cannot "${action}"`,
        guess === null ? "it can list, clear and keep" : `did you mean ${guess}?`,
      );
    }
    if (rest.length > 0)
      throw new TtsError(
        "USAGE",
        `cache ${action} got ${rest.length} arguments`,
        `write tts cache ${action}`,
      );
    return action === "list" ? list(args) : clear(args);
  },
});

async function list({ json }: Arguments): Promise<void> {
  const phrases = inFolder((cache) => cache.list());
  await printText(json === true ? `${JSON.stringify(phrases, null, 1)}\n` : phrases.map(lineOf).join(""));
  if (json !== true && phrases.length > 0) log.info(`${inWords(phrases)}, ${size(bytesOf(phrases))}`);
}

/** @throws TtsError OUTPUT_FAILED where the folder of the phrases cannot be read */
function inFolder<T>(work: (cache: PhraseCache) => T): T {
  try {
    return work(openPhrases());
  } catch (error) {
    throw fileError("OUTPUT_FAILED", "the phrase cache", error, { use: "read" });
  }
}

/** Enough of a key to tell phrases apart. */
const KEY_CHARACTERS = 12;

const lineOf = ({ bytes, fresh, kept, key, seconds, used }: Phrase) =>
  [
    key.slice(0, KEY_CHARACTERS),
    `${seconds.toFixed(1)} s`.padStart(7),
    size(bytes).padStart(9),
    used.slice(0, 16).replace("T", " "),
    kept ? "kept" : fresh ? "fresh" : "",
  ]
    .join("   ")
    .trimEnd()
    .concat("\n");

const inWords = ({ length }: readonly unknown[]) => `${length} ${length === 1 ? "phrase" : "phrases"}`;

const bytesOf = (phrases: readonly Phrase[]) => phrases.reduce((sum, { bytes }) => sum + bytes, 0);

function clear({ all }: Arguments): void {
  const removed = inFolder((cache) => cache.clear(all === true));
  log.info(`removed ${inWords(removed)}: ${size(bytesOf(removed))} freed`);
}

/** @throws TtsError USAGE where one of the sentences was never said */
async function keep(args: Arguments, positionals: readonly string[]): Promise<void> {
  const text = await inputText(positionals, undefined);
  const { keyOf, locale } = await readPhraseVoice(args);
  const phrases = openPhrases();
  const lasting = partsOf(text, new Date(), locale, markedSentenceEnds).filter(({ fresh }) => !fresh);
  if (lasting.length === 0)
    throw new TtsError(
      "USAGE",
      "every sentence has a time or a date in it",
      "keep a text that stays the same",
    );
  for (const part of lasting)
    if (!phrases.keep(keyOf(part)))
      throw new TtsError(
        "USAGE",
        "this text was not said yet with these options",
        "make it with: tts announce --prepare TEXT",
      );
  log.info(`kept: ${inWords(lasting)}`);
}
