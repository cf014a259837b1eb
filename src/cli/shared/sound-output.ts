// The output that speaking and decoding share: its options, their check, and a file that is whole or not
// there.

import { FORMATS, type Format, openSink, type Sink } from "../../audio/sink.ts";
import { TtsError } from "../../errors.ts";
import { isStdout, type Output, openOutput } from "../../io/output.ts";
import { choice, filePath, type Options, type Values } from "./options.ts";

export const OUTPUT_OPTIONS = {
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE|-",
    description: "Where the sound goes; - is standard output. Default: output.wav.",
    group: "Output",
  },
  format: {
    type: "string",
    valueHint: "wav|pcm",
    description: "wav, or raw 16-bit little-endian samples. Default: wav.",
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

export interface SoundOutput {
  path: string;
  format: Format;
  json: boolean;
}

/** @throws TtsError USAGE */
export function readOutput(args: Values<typeof OUTPUT_OPTIONS & typeof JSON_OPTION>): SoundOutput {
  const format = choice(args, "format", FORMATS) ?? "wav";
  const path = filePath(args, "output") ?? `output.${format}`;
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
