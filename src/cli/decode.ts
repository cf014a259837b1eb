// tts decode: saved codes back to sound.

import { defineCommand } from "citty";
import { FORMATS, openSink, type Sink } from "../audio/sink.ts";
import type { Engine, Summary } from "../engine.ts";
import { TtsError } from "../errors.ts";
import { CODES_PER_FRAME } from "../types.ts";
import type { Command } from "./_manual.ts";
import { COMMON, choice, type Options, text } from "./_options.ts";
import { openEngine, pour, report } from "./_run.ts";
import { readTextFile } from "./_text.ts";

/** About 3 hours of sound. */
const MAX_CODES_BYTES = 16 * 2 ** 20;

const options: Options = {
  model: {
    type: "string",
    alias: "m",
    valueHint: "DIR|NAME",
    description: "The model whose codes they are. Default: starter.",
    group: "Voice",
  },
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE|-",
    description: "Where the sound goes; - is standard output. Default: output.wav.",
    group: "Output",
  },
  format: { type: "string", valueHint: "wav|pcm", description: "wav, or raw 16-bit little-endian samples. Default: wav.", group: "Output" },
  json: { type: "boolean", description: "Print the closing figures as one JSON object on standard output.", group: "Output" },
  ...COMMON,
};

export const command: Command = {
  synopsis: "decode FILE|- [OPTIONS]",
  description: [
    "Makes sound of the codes that tts --save-codes wrote. The codes of a text give the same samples every time.",
    'FILE is JSON: {"frames": [[16 whole numbers], ...]}. Where it also has "sentences", as saved files do, each of them starts afresh.',
  ],
  examples: [['tts "Hello." --save-codes hello.json && tts decode hello.json -o again.wav', "the same sound twice"]],
  definition: defineCommand({
    meta: { name: "tts decode", description: "turn saved codes back into sound" },
    args: options,
    run: ({ args, data }) => decode(args, (data as { positionals: string[] }).positionals),
  }),
};

async function decode(args: Record<string, unknown>, positionals: string[]): Promise<void> {
  if (positionals.length !== 1)
    throw new TtsError("USAGE", `decode takes one file, got ${positionals.length}`, "write tts decode FILE -o out.wav");
  const format = choice(args, "format", FORMATS) ?? "wav";
  const output = text(args, "output") ?? `output.${format}`;
  const json = args.json === true;
  if (json && output === "-") throw new TtsError("USAGE", "--json and -o - both want standard output", "write the sound to a file");
  const sentences = readCodes(positionals[0]);
  const engine = await openEngine({ model: text(args, "model"), use: "decode" });
  const sink = openSink(output, format);
  try {
    const summary = await decodeAll(engine, sentences, sink);
    await sink.finish();
    report(summary, output, json);
  } catch (error) {
    sink.abandon();
    throw error;
  }
  await engine.close();
}

/** One summary over all sentences: counts and times add up. */
async function decodeAll(engine: Engine, sentences: Int32Array[], sink: Sink): Promise<Summary> {
  const summaries: Summary[] = [];
  for (const codes of sentences) {
    const speech = engine.decode(codes);
    await pour(speech, sink);
    summaries.push(speech.summary());
  }
  const sum = (pick: (summary: Summary) => number) =>
    Math.round(1000 * summaries.reduce((total, summary) => total + pick(summary), 0)) / 1000;
  const [frames, audioSeconds, wallSeconds] = [sum((s) => s.frames), sum((s) => s.audioSeconds), sum((s) => s.wallSeconds)];
  const vocoder = frames === 0 ? 0 : Math.round((1000 * sum((s) => s.msPerFrame.vocoder * s.frames)) / frames) / 1000;
  const rtf = audioSeconds === 0 ? 0 : Math.round((1000 * wallSeconds) / audioSeconds) / 1000;
  return { ...summaries[0], frames, audioSeconds, wallSeconds, rtf, msPerFrame: { talker: 0, predictor: 0, vocoder } };
}

/** @throws TtsError CODES_INVALID naming what is wrong and where */
function readCodes(path: string): Int32Array[] {
  const fail = (what: string) =>
    new TtsError("CODES_INVALID", `${path}: ${what}`, 'it should look like {"frames": [[16 whole numbers], ...]}');
  let file: { frames?: unknown; sentences?: unknown };
  try {
    file = JSON.parse(readTextFile(path, MAX_CODES_BYTES));
  } catch (error) {
    if (error instanceof SyntaxError) throw fail(`is not JSON (${error.message})`);
    throw error;
  }
  const frames = file?.frames;
  if (!Array.isArray(frames)) throw fail('has no list "frames"');
  if (frames.length === 0) throw fail("has no frames");
  const isFrame = (frame: unknown) =>
    Array.isArray(frame) && frame.length === CODES_PER_FRAME && frame.every((code) => Number.isInteger(code));
  const bad = frames.findIndex((frame) => !isFrame(frame));
  if (bad >= 0) throw fail(`frame ${bad} is not a list of ${CODES_PER_FRAME} whole numbers`);
  return cut(frames as number[][], file.sentences, fail).map((part) => Int32Array.from(part.flat()));
}

function cut(frames: number[][], sentences: unknown, fail: (what: string) => TtsError): number[][][] {
  if (sentences === undefined) return [frames];
  const lengths = Array.isArray(sentences) ? sentences.map((sentence) => sentence?.frames) : [];
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (!lengths.every((length) => Number.isInteger(length) && length >= 0) || total !== frames.length) {
    throw fail(`"sentences" does not add up to the ${frames.length} frames`);
  }
  let at = 0;
  const parts = lengths.map((length) => {
    at += length;
    return frames.slice(at - length, at);
  });
  return parts.filter((part) => part.length > 0);
}
