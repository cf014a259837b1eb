// tts "text": speaks. The default command.

import { courseOf } from "../audio/play/start.ts";
import { LIMITS, loadConfig } from "../config.ts";
import { checkRequest } from "../engine/request.ts";
import type { AudioChunk, SpeakOptions, Speech, Summary } from "../engine.ts";
import { TtsError } from "../errors.ts";
import { weightsHash } from "../formats/bundle.ts";
import { isSameFile, isStdout, type Output, openOutput, printText } from "../io/output.ts";
import { NPU_NAMES, NPU_VENDORS } from "../npu-vendors.ts";
import { spokenLength } from "../text/spoken-length.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { assertFollowed, readWordsPath, WORDS_OPTION, writeWords } from "./captions.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { assertSound, openEngine, pour, report } from "./shared/engine.ts";
import { log } from "./shared/log.ts";
import { MACHINE_OPTIONS, readMachine } from "./shared/machine-options.ts";
import { COMMON, filePath, number, type Options, type Values } from "./shared/options.ts";
import {
  deliver,
  deliverSound,
  isHeardAsMade,
  JSON_OPTION,
  needsLevel,
  OUTPUT_OPTIONS,
  readOutput,
  type SoundOutput,
  TRIM_OPTION,
} from "./shared/sound-output.ts";
import {
  extraPositions,
  INPUT_OPTION,
  modelFor,
  readSpeakOptions,
  SAMPLING_OPTIONS,
  TEXT_OPTIONS,
  VOICE_OPTIONS,
  warnUnread,
} from "./shared/speak-options.ts";
import { tellFirstSound } from "./shared/start.ts";
import { inputText } from "./shared/text.ts";
import { VERSION_OPTION } from "./shared/version.ts";
import { readVoice } from "./shared/voice.ts";

const options = {
  ...INPUT_OPTION,
  ...TEXT_OPTIONS,
  "dry-run": {
    type: "boolean",
    description:
      "Speak nothing: print what would be said, a line a sentence, in words as they are read; with --verbose the IPA or the token ids beneath. Says if the model would be prepared again first.",
    group: "Text",
  },
  ...VOICE_OPTIONS,
  ...OUTPUT_OPTIONS,
  ...TRIM_OPTION,
  "save-codes": {
    type: "string",
    valueHint: "FILE",
    description: "Also write the codes as JSON; tts decode turns them back into sound.",
    group: "Output",
  },
  ...WORDS_OPTION,
  ...JSON_OPTION,
  ...SAMPLING_OPTIONS,
  lanes: {
    type: "string",
    valueHint: "N",
    description:
      "Sentences spoken at the same time. Default: 4 for a long text to a file, if that does not change the sound, else 1.",
    group: "Machine",
  },
  ...MACHINE_OPTIONS,
  ...VERSION_OPTION,
  ...COMMON,
} as const satisfies Options;
type Arguments = Values<typeof options>;

export const command = defineCommand({
  brief: "speak text with Qwen3-TTS on this machine",
  synopsis: '[OPTIONS] "TEXT"  |  tts COMMAND [OPTIONS]',
  description: [
    "Speaks TEXT with a Qwen3-TTS model, and writes or plays mono sound. Everything runs on this machine, without a network.",
    "Long texts are split at sentence ends, then at pauses; sound is written as it is made. The first use of a checkpoint converts it into the cache.",
  ],
  examples: [
    ['tts "The kettle is ready."', "speaks to output.wav with the voice that comes with the program"],
    ['tts "Dinner at 7:30." --play', "plays while it speaks, and writes no file"],
    ['tts --dry-run "Dinner is at 7:30 pm."', "shows what would be said: dinner is at seven thirty p m"],
    ["fortune | tts -i - -o fortune.wav", "reads the text from a pipe"],
    [
      'tts "Hello." -m ~/Qwen3-TTS-12Hz-0.6B-CustomVoice -s ryan -l english --seed 7',
      "an official checkpoint, a speaker, repeatable",
    ],
  ],
  sections: {
    FILES: [
      "~/.cache/qwen3-tts\nPulled checkpoints, converted models, and what the single binary has unpacked. You may delete it; everything but the checkpoints is made again when needed.",
      "~/.local/share/qwen3-tts/voices\nCloned voices.",
      "~/.config/qwen3-tts/lexicon.txt\nA pronunciation list, as for --lexicon, that counts for everything that is spoken.",
    ],
    ENVIRONMENT: [
      "TTS_CACHE\nFolder for models instead of $XDG_CACHE_HOME/qwen3-tts or ~/.cache/qwen3-tts.",
      "TTS_VOICES\nFolder for voices instead of $XDG_DATA_HOME/qwen3-tts/voices or ~/.local/share/qwen3-tts/voices.",
      "TTS_CONFIG\nFolder of lexicon.txt instead of $XDG_CONFIG_HOME/qwen3-tts or ~/.config/qwen3-tts.",
      "TTS_PREFIX_CACHE\ndisk keeps the beginnings of prompts, and prompts that recur, in the cache folder, so that speech starts sooner; memory keeps them for one run; off computes everything anew. The sound is the same. Default: disk.",
      "TTS_LIBLLAMA, TTS_LIBONNXRUNTIME\nFile or folder of another build of these libraries.",
      "TTS_LIB_DIR\nWhere the single binary unpacks its libraries and its voice: a folder that you own, on a file system that lets programs run. Default: the cache folder.",
      `${NPU_NAMES.map((name) => NPU_VENDORS[name].variable).join(", ")}\nFile or folder of an NPU's library, if it is not in its usual place.`,
      "TTS_STAGE_TIMEOUT\nThe program gives up when a stage gives no sign of life for this many seconds. Default: 120.",
    ],
    "EXIT STATUS": [
      "0 done; 2 wrong options or text; 3 no such model, or one that cannot be used; 4 library trouble; 5 output failed; 6 a worker or an NPU failed; 7 the hub did not answer; 8 a stage hung; 129, 130, 143 ended by a signal, 141 because the reader of its output has gone; 1 anything else.",
    ],
  },
  options,
  run: say,
});

/** Tags, and the phones of a sentence that a voice reads as IPA. */
const LEAST_PROMPT_POSITIONS = 200;

async function say(args: Arguments, data: CommandData): Promise<void> {
  if (args["dry-run"] === true) return rehearse(args, data);
  const { positionals } = data;
  const output = readOutput(args);
  const codesPath = readCodesPath(args, output);
  const wordsPath = readWordsPath(args, [output.path ?? undefined, codesPath]);
  const voice = await readVoice(args.voice);
  const speakOptions = { ...readSpeakOptions(args), trimStart: args["trim-start"] === true, voice };
  const machine = { ...readMachine(args), lanes: number(args, "lanes") };
  const { cacheDir } = loadConfig(machine); // also checks the options
  const words = await inputText(positionals, args.input);
  checkRequest(words, speakOptions);
  const model = args.model ?? modelFor(speakOptions.speaker, voice, cacheDir);
  // The first sentence must not wait for others where somebody may listen.
  const sentences = isHeardAsMade(output) ? 1 : Math.ceil(spokenLength(words) / LIMITS.promptChars);
  const { greedy, maxFrames, sampling } = speakOptions;
  const lexicon = filePath(args, "lexicon");
  // the sentences that measure a voice have no limit of frames
  const contextPositions = needsLevel(output) ? undefined : positionsFor(words, speakOptions, lexicon);
  const first = { text: words, options: speakOptions };
  const openOptions = { model, first, lexicon, sentences, greedy, sampling, contextPositions, ...machine };
  const speakTo = (codes: Output | null) =>
    deliverSound(output, async (outlet) => {
      const engine = await openEngine(openOptions, maxFrames, extraPositions(speakOptions));
      if (needsLevel(output)) await output.level.learn(engine, speakOptions);
      const speech = engine.first!;
      if (wordsPath !== undefined) assertFollowed(engine);
      announce(speech);
      const frames: number[][][][] = speech.sentences.map(() => []);
      const keep = ({ attempt, codes, sentence }: AudioChunk) => {
        frames[sentence][attempt] ??= [];
        frames[sentence][attempt].push(...framesOf(codes));
      };
      outlet.watch.follow(courseOf(speech));
      await pour(speech, outlet, codes === null ? undefined : keep);
      tellFirstSound(engine);
      const summary = speech.summary();
      assertSound(summary);
      if (wordsPath !== undefined) await writeWords(wordsPath, speech.words, outlet.heard);
      await codes?.write(
        codesFile({ words, frames, speech, summary, modelSha256: weightsHash(engine.manifest) }),
      );
      return { engine, heard: outlet.heard, summary };
    });
  const { engine, heard, summary } = await (codesPath === undefined
    ? speakTo(null)
    : deliver(openOutput(codesPath), speakTo));
  const { repairs } = summary;
  for (const { draw, fault, sentence } of repairs)
    log.debug(
      `sentence ${sentence + 1} was cut (${fault})${draw > 0 ? ` and goes on with draw ${draw}` : ""}`,
    );
  if (summary.stop === "length" && repairs.every(({ draw }) => draw > 0))
    log.warn("a sentence reached the frame limit and was cut off there");
  else if (summary.stop === "length") log.warn("a sentence went wrong and was cut; not all of it was said");
  await report(summary, output, heard);
  await engine.close();
}

/** What would be said, on stdout. Nothing is converted, written or fetched for it. */
async function rehearse(args: Arguments, { positionals }: CommandData): Promise<void> {
  const speakOptions = readSpeakOptions(args);
  const voice = await readVoice(args.voice);
  const config = loadConfig(readMachine(args));
  const words = await inputText(positionals, args.input);
  checkRequest(words, { ...speakOptions, voice });
  const model = args.model ?? modelFor(speakOptions.speaker, voice, config.cacheDir);
  const { previewText } = await import("../engine/preview.ts");
  const { again, ignored, sentences, unread } = await previewText(words, speakOptions, {
    model,
    config,
    lexicon: filePath(args, "lexicon"),
    detailed: args.verbose === true,
  });
  if (again !== "") log.info(`${model ?? "the starter voice"} would be prepared again: ${again}`);
  warnUnread({ ignored, unread });
  const lines = sentences.flatMap(({ detail, words }) =>
    detail === "" ? [words] : [words, `    ${detail}`],
  );
  await printText(`${lines.join("\n")}\n`);
}

function announce(speech: Speech): void {
  warnUnread(speech);
  speech.sentences.forEach((sentence, i) => {
    log.debug(`sentence ${i + 1}: ${sentence}`);
  });
}

/**
 * Positions that a short text with a limit of frames can fill: memory is taken for no more. undefined where
 * nothing bounds them.
 */
function positionsFor(words: string, options: SpeakOptions, lexicon?: string): number | undefined {
  const { maxFrames, normalize = false } = options;
  if (maxFrames === undefined || normalize || lexicon !== undefined) return undefined;
  // a token has a byte or more, and composing a character may double its bytes
  const prompt = Math.max(LEAST_PROMPT_POSITIONS, 2 * Buffer.byteLength(words));
  return extraPositions(options) + prompt + maxFrames;
}

/** @throws TtsError USAGE if the codes would go to stdout, or into the file of the sound */
function readCodesPath(args: Arguments, { path }: SoundOutput): string | undefined {
  const codes = filePath(args, "save-codes");
  if (codes === undefined) return undefined;
  if (isStdout(codes)) throw new TtsError("USAGE", "--save-codes cannot be standard output", "name a file");
  if (path !== null && isSameFile(codes, path))
    throw new TtsError("USAGE", `${codes} cannot hold both sound and codes`, "name two files");
  return codes;
}

interface CodesToSave {
  words: string;
  /** By sentence and attempt. */
  frames: number[][][][];
  speech: Speech;
  summary: Summary;
  modelSha256: string;
}

/** i32 [frames, 16] as lists */
function framesOf(codes: Int32Array): number[][] {
  return Array.from({ length: codes.length / CODES_PER_FRAME }, (_, frame) => {
    return Array.from(codes.subarray(frame * CODES_PER_FRAME, (frame + 1) * CODES_PER_FRAME));
  });
}

/**
 * decode needs only the frames, and of each sentence its length, because the vocoder starts afresh there,
 * and the pause before it. A pause behind the last one belongs to an empty one. A sentence that was repaired
 * comes several times, once for each attempt that was heard.
 */
function codesFile({ words, frames, speech, summary, modelSha256 }: CodesToSave): Uint8Array {
  const { pauses, sentences } = speech;
  const all = pauses.has(sentences.length) ? [...sentences, ""] : sentences;
  const file = {
    model: summary.model,
    modelSha256,
    text: words,
    seed: summary.seed,
    settings: speech.settings,
    sentences: all.flatMap((text, i) =>
      ((frames[i] ?? []).length > 0 ? Object.values(frames[i]) : [[]]).map((part, attempt) => ({
        text,
        frames: part.length,
        pauseMs: attempt === 0 ? pauses.get(i) : undefined,
      })),
    ),
    frames: frames.flat(2),
  };
  return Buffer.from(`${JSON.stringify(file)}\n`);
}
