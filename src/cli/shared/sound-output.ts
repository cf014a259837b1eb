// The output that speaking and decoding share: its options, their check, and a file that is whole or not
// there.

import { extname } from "node:path";
import {
  assertRate,
  FORMAT_NAMES,
  FORMATS,
  type Format,
  formatOfSuffix,
  SUFFIXES,
} from "../../audio/encode/formats.ts";
import { type SoundShape, soundFilters } from "../../audio/filters/chain.ts";
import { type Filter, filtered } from "../../audio/filters/filter.ts";
import { Heard } from "../../audio/filters/heard.ts";
import { StartWatch, startedBy } from "../../audio/play/start.ts";
import { openSink, type Sink, toEach } from "../../audio/sink.ts";
import { TtsError } from "../../errors.ts";
import { isStdout, type Output, openOutput } from "../../io/output.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import { log } from "./log.ts";
import { choice, filePath, type Options, type Values } from "./options.ts";
import { PLAY_OPTIONS, PLAYED, type PlaySettings, readPlay, readShape } from "./play-options.ts";
import { VoiceLevel } from "./voice-level.ts";

export const OUTPUT_OPTIONS = {
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE|-",
    description:
      "Where the sound goes; - is standard output. The suffix chooses the format. Default: output.wav, or no file with --play.",
    group: "Output",
  },
  format: {
    type: "string",
    valueHint: FORMAT_NAMES.join("|"),
    description: `${describeFormats()}. Default: what the suffix says, else wav.`,
    group: "Output",
  },
  ...PLAY_OPTIONS,
} as const satisfies Options;

export const JSON_OPTION = {
  json: {
    type: "boolean",
    description: "Print the closing figures as one JSON object on standard output.",
    group: "Output",
  },
} as const satisfies Options;

export const TRIM_OPTION = {
  "trim-start": {
    type: "boolean",
    description:
      "Leave out the silence before the first sound (up to -50 dB), but for 10 ms. Pauses between sentences and saved codes stay as they are.",
    group: "Output",
  },
} as const satisfies Options;

/** Each as `wav (16-bit samples with a header; .wav)`. */
function describeFormats(): string {
  const one = (name: Format) => {
    const { brief, suffixes } = FORMATS[name];
    return `${name} (${brief}; ${suffixes.join(" or ")})`;
  };
  return FORMAT_NAMES.map(one).join(", ");
}

export interface SoundOutput {
  /** null: no file, since the sound is only played. */
  path: string | null;
  format: Format;
  json: boolean;
  /** null: it is not played. */
  play: PlaySettings | null;
  /** What was asked for; it holds for file and player. */
  shape: SoundShape;
  /** Of the voice that speaks, for a shape with a loudness. */
  level: VoiceLevel;
}

/**
 * The format that the name of a file promises, or null where it has no suffix.
 * @throws TtsError USAGE for a format that cannot be written
 */
function formatOf(path: string): Format | null {
  const suffix = extname(path);
  if (suffix.length < 2) return null;
  const format = formatOfSuffix(suffix);
  if (format !== null) return format;
  throw new TtsError(
    "USAGE",
    `${path}: ${suffix} cannot be written`,
    `the name may end in ${SUFFIXES.join(", ")}`,
  );
}

/** @throws TtsError USAGE */
export function readOutput(args: Values<typeof OUTPUT_OPTIONS & typeof JSON_OPTION>): SoundOutput {
  const chosen = choice(args, "format", FORMAT_NAMES);
  const [play, shape, level] = [readPlay(args), readShape(args), new VoiceLevel()];
  const path = filePath(args, "output") ?? (play === null ? `output.${chosen ?? "wav"}` : null);
  const json = args.json === true;
  if (path === null) {
    if (chosen !== undefined) throw new TtsError("USAGE", "--format is for a file", "name one with -o");
    return { path, format: "wav", json, play, shape, level };
  }
  const promised = formatOf(path);
  if (chosen !== undefined && promised !== null && chosen !== promised)
    throw new TtsError(
      "USAGE",
      `--format is ${chosen}, but the name ${path} means ${promised}`,
      "leave out --format, or choose another name",
    );
  const format = promised ?? chosen ?? "wav";
  assertRate(format, shape.rateHz ?? SAMPLE_RATE_HZ);
  if (json && isStdout(path))
    throw new TtsError(
      "USAGE",
      `--json and -o ${path} both want standard output`,
      "write the sound to a file",
    );
  if (play !== null && isStdout(path))
    throw new TtsError("USAGE", `there are --play and -o ${path}`, "leave one of them out, or name a file");
  return { path, format, json, play, shape, level };
}

/** Whether the voice's own loudness must be known. */
export const needsLevel = ({ play, shape }: SoundOutput) =>
  shape.loudness !== undefined || (play !== null && PLAYED.loudness !== undefined);

/** Whether somebody may hear the sound while it is made. */
export const isHeardAsMade = ({ path, play }: SoundOutput) =>
  play === null ? path !== null && isStdout(path) : play.start !== "complete";

/**
 * Waits for the output to open, lets `work` fill it, and finishes it. If `work` fails, nothing is left.
 */
export async function deliver<T, O extends Sink | Output>(
  opening: Promise<O>,
  work: (output: O) => Promise<T>,
): Promise<T> {
  const output = await opening;
  try {
    const result = await work(output);
    await output.finish();
    return result;
  } catch (error) {
    output.abandon();
    throw error;
  }
}

/** Where sound goes, and what watches it on the way. */
export interface Outlet {
  sink: Sink;
  watch: StartWatch;
  /** What is told of: the sound of the file, else what is played. */
  heard: Heard;
}

export const deliverSound = <T>(output: SoundOutput, work: (outlet: Outlet) => Promise<T>) => {
  const { level, path, play, shape } = output;
  const watch = new StartWatch(play?.start ?? "now", shape.speed);
  const filters = soundFilters(path === null ? { ...PLAYED, ...shape } : shape, level);
  const heard = new Heard(filters, shape.rateHz ?? SAMPLE_RATE_HZ, () => performance.now());
  return deliver(openSound(output, watch, [...filters, heard]), (sink) => work({ sink, watch, heard }));
};

/**
 * The file comes first: it is whole when all has been said, whatever the player still has to play.
 * @param told the filters of the file; without one those of the player
 */
async function openSound(output: SoundOutput, watch: StartWatch, told: readonly Filter[]): Promise<Sink> {
  const { format, level, path, play, shape } = output;
  const { rateHz = SAMPLE_RATE_HZ } = shape;
  const sinks: Sink[] = [];
  try {
    if (path !== null) sinks.push(filtered(await openSink(path, format, rateHz), told));
    if (play !== null) {
      const filters = path === null ? told : soundFilters({ ...PLAYED, ...shape }, level);
      sinks.push(filtered(await openPlaying(play, rateHz, watch), filters));
    }
  } catch (error) {
    toEach(sinks).abandon();
    throw error;
  }
  return toEach(sinks);
}

async function openPlaying(play: PlaySettings, rateHz: number, watch: StartWatch): Promise<Sink> {
  const { openPlayer } = await import("../../audio/play/player.ts"); // only now: starting processes takes 2 ms to load
  const player = await openPlayer({ ...play, rateHz, hold: true });
  log.debug(`player: ${[player.command.program, ...player.command.args].join(" ")}`);
  return startedBy(player, watch, (why) => log.debug(why));
}

/** Writes a small file, whole or not at all. */
export const writeWhole = (path: string, bytes: Uint8Array) =>
  deliver(openOutput(path), (output) => output.write(bytes));
