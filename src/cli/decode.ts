// tts decode: turns saved codes back into sound.

import { Listener } from "../audio/onset.ts";
import { knownCourse } from "../audio/play/start.ts";
import { LIMITS } from "../config.ts";
import type { Engine, Summary } from "../engine.ts";
import { TtsError } from "../errors.ts";
import { weightsHash } from "../formats/bundle.ts";
import { isFrame } from "../formats/codes.ts";
import { readTextFile } from "../io/read.ts";
import { isWhole } from "../ranges.ts";
import { CODES_PER_FRAME, FRAMES_PER_SECOND, SAMPLE_RATE_HZ } from "../types.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { assertSound, openEngine, pour, report } from "./shared/engine.ts";
import { log } from "./shared/log.ts";
import { readVocoder, VOCODER_OPTIONS } from "./shared/machine-options.ts";
import { COMMON, type Options, type Values } from "./shared/options.ts";
import {
  deliverSound,
  JSON_OPTION,
  OUTPUT_OPTIONS,
  type Outlet,
  readOutput,
  TRIM_OPTION,
} from "./shared/sound-output.ts";

/** About 3 hours of sound. */
const MAX_CODES_BYTES = 16 * 2 ** 20;
/** Larger than any code; the engine checks against the model's own codebook. */
const MAX_CODE = 65_535;

/** A part that the vocoder starts afresh with. */
interface SavedSentence {
  /** i32 [frames, 16] */
  codes: Int32Array;
  /** Silence before it. */
  pauseMs: number;
}

const options = {
  model: {
    type: "string",
    alias: "m",
    valueHint: "DIR|NAME",
    description: "The model that made the codes. Default: starter.",
    group: "Voice",
  },
  ...OUTPUT_OPTIONS,
  ...TRIM_OPTION,
  ...JSON_OPTION,
  ...VOCODER_OPTIONS,
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "turn saved codes back into sound",
  synopsis: "decode FILE|- [OPTIONS]",
  description: [
    "Turns the codes that tts --save-codes wrote into sound. The same codes give the same samples every time.",
    'FILE is JSON: {"frames": [[16 whole numbers], ...]}. If it also has "sentences", as saved files do, the vocoder starts afresh at each of them.',
  ],
  examples: [
    ['tts "Hello." --save-codes hello.json && tts decode hello.json -o again.wav', "the same sound twice"],
  ],
  options,
  run: decode,
});

async function decode(args: Values<typeof options>, { positionals }: CommandData): Promise<void> {
  if (positionals.length !== 1)
    throw new TtsError(
      "USAGE",
      `decode takes one file, got ${positionals.length}`,
      "write tts decode FILE -o out.wav",
    );
  const output = readOutput(args);
  if (args.loudness !== undefined)
    throw new TtsError("USAGE", "--loudness is for a voice, which codes do not name", "use --volume");
  const { modelSha256, sentences } = await readCodes(positionals[0]);
  const { engine, heard, summary } = await deliverSound(output, async (outlet) => {
    const engine = await openEngine({ model: args.model, use: "decode", ...readVocoder(args) });
    if (modelSha256 !== undefined && modelSha256 !== weightsHash(engine.manifest))
      log.warn(
        `${positionals[0]} was made by another model than ${engine.manifest.name}: it may sound wrong; choose it with --model`,
      );
    const summary = await decodeAll(engine, sentences, outlet, args["trim-start"] === true);
    assertSound(summary);
    return { engine, heard: outlet.heard, summary };
  });
  await report(summary, output, heard);
  await engine.close();
}

/** One summary of all sentences; counts and times are added. */
async function decodeAll(
  engine: Engine,
  sentences: readonly SavedSentence[],
  outlet: Outlet,
  trimStart: boolean,
): Promise<Summary> {
  const summaries: Summary[] = [];
  const [listener, startMs] = [new Listener(), performance.now()];
  outlet.heard.begin(startMs);
  const frames = sentences.reduce((sum, { codes }) => sum + codes.length / CODES_PER_FRAME, 0);
  const lengths = sentences.map(({ codes }) => codes.length / CODES_PER_FRAME / FRAMES_PER_SECOND);
  outlet.watch.follow(
    knownCourse(
      lengths,
      sentences.map(({ pauseMs }) => pauseMs / 1000),
    ),
  );
  let pausesMs = 0;
  for (const [i, { codes, pauseMs }] of sentences.entries()) {
    if (pauseMs > 0 && !(trimStart && listener.heardMs === 0)) {
      const silence = new Float32Array(Math.round((pauseMs * SAMPLE_RATE_HZ) / 1000));
      outlet.watch.take(i, pauseMs / 1000, performance.now(), true);
      await outlet.sink.write(silence);
      listener.take(silence, performance.now() - startMs);
      pausesMs += pauseMs;
    }
    if (codes.length === 0) continue;
    // The silence before a later sentence is a pause, which stays.
    const speech = engine.decode(codes, { trimStart: trimStart && listener.heardMs === 0 });
    await pour(speech, outlet, (chunk) => {
      chunk.sentence = i;
      listener.take(chunk.samples, performance.now() - startMs);
    });
    summaries.push(speech.summary());
  }
  const round = (value: number) => Math.round(1000 * value) / 1000;
  const sum = (pick: (summary: Summary) => number) =>
    round(summaries.reduce((total, summary) => total + pick(summary), 0));
  const audioSeconds = round(sum((s) => s.audioSeconds) + pausesMs / 1000);
  const wallSeconds = sum((s) => s.wallSeconds);
  const vocoder = frames === 0 ? 0 : round(sum((s) => s.msPerFrame.vocoder * s.frames) / frames);
  const rtf = audioSeconds === 0 ? 0 : round(wallSeconds / audioSeconds);
  return {
    ...summaries[0],
    frames,
    audioSeconds,
    wallSeconds,
    rtf,
    firstAudioMs: round(listener.firstMs),
    firstHeardMs: round(listener.heardMs),
    msPerFrame: { talker: 0, predictor: 0, vocoder },
  };
}

/** @throws TtsError CODES_INVALID; the message says what is wrong and where */
async function readCodes(path: string): Promise<{ sentences: SavedSentence[]; modelSha256: unknown }> {
  const fail = (what: string) =>
    new TtsError(
      "CODES_INVALID",
      `${path}: ${what}`,
      'it should look like {"frames": [[16 whole numbers], ...]}',
    );
  let file: { frames?: unknown; modelSha256?: unknown; sentences?: unknown };
  try {
    file = JSON.parse(await readTextFile(path, MAX_CODES_BYTES));
  } catch (error) {
    if (error instanceof SyntaxError) throw fail(`is not JSON (${error.message})`);
    throw error;
  }
  const frames = file?.frames;
  if (!Array.isArray(frames)) throw fail('has no list "frames"');
  if (frames.length === 0) throw fail("has no frames");
  const bad = frames.findIndex((frame) => !isFrame(frame, MAX_CODE + 1));
  if (bad >= 0)
    throw fail(`frame ${bad} is not a list of ${CODES_PER_FRAME} whole numbers from 0 to ${MAX_CODE}`);
  return { sentences: cut(frames as number[][], file.sentences, fail), modelSha256: file.modelSha256 };
}

function cut(frames: number[][], sentences: unknown, fail: (what: string) => TtsError): SavedSentence[] {
  if (sentences === undefined) return [{ codes: Int32Array.from(frames.flat()), pauseMs: 0 }];
  const parts = Array.isArray(sentences) ? sentences.map((one) => [one?.frames, one?.pauseMs ?? 0]) : [];
  const total = parts.reduce((sum, [length]) => sum + length, 0);
  if (!parts.every(([length]) => Number.isInteger(length) && length >= 0) || total !== frames.length)
    throw fail(`"sentences" does not add up to the ${frames.length} frames`);
  const bad = parts.findIndex(([, pauseMs]) => !isWhole(pauseMs, 0, LIMITS.pauseMs));
  if (bad >= 0) {
    const pause = JSON.stringify(parts[bad][1]);
    throw fail(`the pause of sentence ${bad} is ${pause}, not 0 to ${LIMITS.pauseMs} ms`);
  }
  let at = 0;
  return parts.map(([length, pauseMs]) => {
    at += length;
    return { codes: Int32Array.from(frames.slice(at - length, at).flat()), pauseMs };
  });
}
