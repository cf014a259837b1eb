// The output that speaking and decoding share: its options, their check, and a file that is whole or not
// there.

import { extname } from "node:path";
import { FORMATS, type Format, openSink, type Sink } from "../../audio/sink.ts";
import { TtsError } from "../../errors.ts";
import { isStdout, type Output, openOutput } from "../../io/output.ts";
import { choice, filePath, type Options, type Values } from "./options.ts";

export const OUTPUT_OPTIONS = {
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE|-",
    description:
      "Where the sound goes; - is standard output. The suffix chooses the format: .wav, or .pcm or .raw. Default: output.wav.",
    group: "Output",
  },
  format: {
    type: "string",
    valueHint: "wav|pcm",
    description: "wav, or raw 16-bit little-endian samples. Default: what the suffix says, else wav.",
    group: "Output",
  },
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

export interface SoundOutput {
  path: string;
  format: Format;
  json: boolean;
}

/** What a file of that name holds. */
const FORMAT_OF_SUFFIX: Readonly<Record<string, Format>> = { ".wav": "wav", ".pcm": "pcm", ".raw": "pcm" };

/**
 * The format that the name of a file promises, or null where it has no suffix.
 * @throws TtsError USAGE for a format that cannot be written
 */
function formatOf(path: string): Format | null {
  const suffix = extname(path);
  if (suffix.length < 2) return null;
  const format = Object.entries(FORMAT_OF_SUFFIX).find(([known]) => known === suffix.toLowerCase())?.[1];
  if (format !== undefined) return format;
  const names = Object.keys(FORMAT_OF_SUFFIX).join(", ");
  throw new TtsError("USAGE", `${path}: ${suffix} cannot be written`, `the name may end in ${names}`);
}

/** @throws TtsError USAGE */
export function readOutput(args: Values<typeof OUTPUT_OPTIONS & typeof JSON_OPTION>): SoundOutput {
  const chosen = choice(args, "format", FORMATS);
  const path = filePath(args, "output") ?? `output.${chosen ?? "wav"}`;
  const promised = formatOf(path);
  if (chosen !== undefined && promised !== null && chosen !== promised)
    throw new TtsError(
      "USAGE",
      `--format is ${chosen}, but the name ${path} means ${promised}`,
      "leave out --format, or choose another name",
    );
  const format = promised ?? chosen ?? "wav";
  const json = args.json === true;
  if (json && isStdout(path))
    throw new TtsError(
      "USAGE",
      `--json and -o ${path} both want standard output`,
      "write the sound to a file",
    );
  return { path, format, json };
}

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

export const deliverSound = <T>({ path, format }: SoundOutput, work: (sink: Sink) => Promise<T>) =>
  deliver(openSink(path, format), work);

/** Writes a small file, whole or not at all. */
export const writeWhole = (path: string, bytes: Uint8Array) =>
  deliver(openOutput(path), (output) => output.write(bytes));
