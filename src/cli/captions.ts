// Word times as a file: JSON, or subtitles of one word each, as SRT or WebVTT.

import { extname } from "node:path";
import type { Heard } from "../audio/filters/heard.ts";
import type { Engine, WordTime } from "../engine.ts";
import { TtsError } from "../errors.ts";
import { isSameFile, isStdout } from "../io/output.ts";
import { filePath, type Options, type Values } from "./shared/options.ts";
import { writeWhole } from "./shared/sound-output.ts";

export const WORDS_OPTION = {
  words: {
    type: "string",
    valueHint: "FILE",
    description:
      "Also write when each word is said, to about a frame of 80 ms: as .json, or as subtitles, .srt or .vtt.",
    group: "Output",
  },
} as const satisfies Options;

/** By the suffix of the file. */
const WRITERS: Readonly<Record<string, (words: readonly WordTime[]) => string>> = {
  ".json": (words) => `${JSON.stringify({ words })}\n`,
  ".srt": (words) => words.map((word, i) => `${i + 1}\n${cue(word, ",")}\n`).join("\n"),
  ".vtt": (words) => `WEBVTT\n${words.map((word) => `\n${cue(word, ".")}\n`).join("")}`,
};

/** @param point before the milliseconds */
function cue({ end, start, text }: WordTime, point: string): string {
  // An empty line would end a cue, an arrow would begin its times, and markup would not be shown.
  const shown = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `${clock(start, point)} --> ${clock(end, point)}\n${point === "." ? shown : text.replaceAll("-->", "->")}`;
}

function clock(seconds: number, point: string): string {
  const ms = Math.round(1000 * seconds);
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  const rest = String(ms % 1000).padStart(3, "0");
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}${point}${rest}`;
}

export const captions = (words: readonly WordTime[], path: string) =>
  WRITERS[extname(path).toLowerCase()](words);

/** @throws TtsError USAGE if the file has no such suffix, or is meant for something else too */
export function readWordsPath(
  args: Values<typeof WORDS_OPTION>,
  others: readonly (string | undefined)[],
): string | undefined {
  const path = filePath(args, "words");
  if (path === undefined) return undefined;
  const names = Object.keys(WRITERS);
  if (isStdout(path) || !names.includes(extname(path).toLowerCase()))
    throw new TtsError("USAGE", `--words is ${path}`, `name a file that ends in ${names.join(", ")}`);
  const same = others.find((other) => other !== undefined && isSameFile(path, other));
  if (same !== undefined)
    throw new TtsError("USAGE", `${path} cannot hold both word times and something else`, "name two files");
  return path;
}

/** @throws TtsError MODEL_UNSUITABLE */
export function assertFollowed({ manifest: { alignment, name } }: Pick<Engine, "manifest">): void {
  if (alignment !== null) return;
  const what = `no attention head of ${name} is known to follow the text`;
  throw new TtsError("MODEL_UNSUITABLE", what, "leave out {words}, or use another model");
}

/** @param heard what the words are heard in */
export function writeWords(path: string, words: readonly WordTime[], heard: Heard): Promise<void> {
  const moved = (seconds: number) => Math.round(1000 * heard.moved(seconds)) / 1000;
  const all = words.map((word) => ({ ...word, start: moved(word.start), end: moved(word.end) }));
  return writeWhole(path, Buffer.from(captions(all, path)));
}
