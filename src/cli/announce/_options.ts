// The options of tts announce, and what they mean.

import type { Announcement } from "../../announce/announce.ts";
import { chime } from "../../announce/chime.ts";
import { PRIORITIES } from "../../announce/queue.ts";
import { appointment, parseDuration } from "../../announce/times.ts";
import type { SoundShape } from "../../audio/filters/chain.ts";
import { ANNOUNCE_LIMITS } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { isTerminal } from "../../io/terminal.ts";
import { assertWhole } from "../../ranges.ts";
import { MANNERS_AT_NIGHT, PLAYING_OPTIONS, readNight } from "../shared/announce-options.ts";
import { FLEET_OPTION, NAME_OPTION } from "../shared/fleet-options.ts";
import { asNumber, COMMON, choice, filePath, number, type Options, type Values } from "../shared/options.ts";
import { PHRASE_OPTIONS } from "../shared/phrases.ts";
import { PLAYED, type PlaySettings, readPlay, readShape } from "../shared/play-options.ts";
import { INPUT_OPTION } from "../shared/speak-options.ts";
import { inputText } from "../shared/text.ts";

const [when, manners, sound] = ["When", "Manners", "Sound"];
/** What `--chime` means without a file. */
export const OWN_CHIME = "own";

export const ANNOUNCE_OPTIONS = {
  to: {
    type: "string",
    valueHint: "ROOM,...|all",
    description:
      "Say it in these rooms of a fleet instead of here: every board in them begins at the same moment (tts join), and plays it in its own manner. -m then names a model as tts fleet lists it, --voice a speaker or a voice of the board that makes the sound.",
    group: "Fleet",
  },
  ...FLEET_OPTION,
  ...NAME_OPTION,
  by: {
    type: "string",
    valueHint: "TIME",
    description:
      "Make the sound ahead, and begin it at this local time, HH:MM or HH:MM:SS, at most 12 hours ahead. {time}, {date} and {weekday} are those of TIME.",
    group: when,
  },
  "max-late": {
    type: "string",
    valueHint: "DURATION",
    description:
      "A TIME of --by that has just passed is spoken at once, up to this late; later, nothing is said. Such as 90s, 5min or 1h. Default: 5min.",
    group: when,
  },
  prepare: {
    type: "boolean",
    description:
      "Say nothing: make the sound and keep it, so that the same call without --prepare sounds at once. Sentences with {time}, {date} or {weekday} are made only with --by.",
    group: when,
  },
  ...MANNERS_AT_NIGHT,
  priority: {
    type: "string",
    valueHint: PRIORITIES.join("|"),
    description:
      "Who goes first among those that wait. urgent also interrupts what is being said, at the end of a word. Of the same priority those with --by go first. Default: normal.",
    group: manners,
  },
  "max-wait": {
    type: "string",
    valueHint: "DURATION",
    description: `Give up when others speak for so long; at most ${ANNOUNCE_LIMITS.waiting} wait. Default: 60s.`,
    group: manners,
  },
  dedupe: {
    type: "string",
    valueHint: "SECONDS",
    description: "Say nothing if the same text was said within so many seconds. Default: 0, off.",
    group: manners,
  },
  chime: {
    type: "string",
    valueHint: "FILE",
    description:
      "A sound before and after the words: without FILE two tones and one, else this wav, flac, mp3 or ogg. A FILE that is not named so is written --chime=FILE.",
    group: sound,
    implied: { value: OWN_CHIME, unlessNext: /\.(wav|flac|mp3|ogg|aiff?)$/i },
  },
  repeat: {
    type: "string",
    valueHint: "N",
    description: `Say it N times, up to ${ANNOUNCE_LIMITS.repeats}. Default: 1.`,
    group: sound,
  },
  ...PLAYING_OPTIONS,
  ...INPUT_OPTION,
  ...PHRASE_OPTIONS,
  ...COMMON,
} as const satisfies Options;
export type Arguments = Values<typeof ANNOUNCE_OPTIONS>;

/** The text as it was given, and everything about it but its parts. */
export interface Request extends Omit<Announcement, "parts"> {
  template: string;
  play: PlaySettings;
  shape: SoundShape;
  prepare: boolean;
}

/** @throws TtsError USAGE, INPUT_UNREADABLE, TEXT_*, REFERENCE_UNUSABLE */
export async function readRequest(
  args: Arguments,
  positionals: readonly string[],
  now: Date,
): Promise<Request> {
  const duration = (name: "max-late" | "max-wait", mostMs: number, usualMs: number) =>
    args[name] === undefined ? usualMs : parseDuration(`--${name}`, args[name], mostMs);
  const mostLateMs = duration("max-late", ANNOUNCE_LIMITS.passedMs, ANNOUNCE_LIMITS.lateMs);
  const repeat = number(args, "repeat") ?? 1;
  assertWhole("--repeat", repeat, 1, ANNOUNCE_LIMITS.repeats);
  const dedupe = args.dedupe === undefined ? 0 : asNumber("dedupe", args.dedupe);
  if (!(dedupe >= 0 && dedupe <= ANNOUNCE_LIMITS.dedupeSeconds))
    throw new TtsError(
      "USAGE",
      `--dedupe is ${args.dedupe}`,
      `give 0 to ${ANNOUNCE_LIMITS.dedupeSeconds} seconds`,
    );
  const play = readPlay({ ...args, play: true })!;
  return {
    ...{ mostLateMs, play, repeat },
    start: play.start,
    shape: { ...PLAYED, ...readShape({ ...args, play: true }) },
    appointment: args.by === undefined ? null : appointment("--by", args.by, now, mostLateMs),
    ...readNight(args),
    dedupeMs: 1_000 * dedupe,
    priority: choice(args, "priority", PRIORITIES) ?? "normal",
    mostWaitMs: duration("max-wait", ANNOUNCE_LIMITS.mostWaitMs, ANNOUNCE_LIMITS.waitMs),
    ...(await readChime(args)),
    prepare: args.prepare === true,
    template: await readTemplate(args, positionals),
  };
}

/** The text, else standard input, as long as that is no terminal. */
async function readTemplate(args: Arguments, positionals: readonly string[]): Promise<string> {
  const piped = positionals.length === 0 && args.input === undefined && !isTerminal(0);
  const text = (await inputText(positionals, piped ? "-" : args.input)).trim();
  const bytes = Buffer.byteLength(text);
  if (bytes <= ANNOUNCE_LIMITS.textBytes) return text;
  const hint = `an announcement has at most ${ANNOUNCE_LIMITS.textBytes}; longer texts: tts -i FILE`;
  throw new TtsError("TEXT_TOO_LONG", `the text has ${bytes} bytes`, hint);
}

const NO_SOUND = new Float32Array(0);

export async function readChime(args: Arguments): Promise<{ before: Float32Array; after: Float32Array }> {
  const path = filePath(args, "chime");
  if (path === undefined) return { before: NO_SOUND, after: NO_SOUND };
  if (path === OWN_CHIME) return { before: chime("before"), after: chime("after") };
  const { readRecording } = await import("../../audio/read.ts"); // only now: decoders take a while to load
  const { samples, seconds } = await readRecording(path);
  if (seconds <= ANNOUNCE_LIMITS.chimeSeconds) return { before: samples, after: samples };
  throw new TtsError(
    "USAGE",
    `--chime ${path} has ${seconds.toFixed(1)} s of sound`,
    `give at most ${ANNOUNCE_LIMITS.chimeSeconds} s`,
  );
}
