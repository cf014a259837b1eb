// What a phrase is kept under: everything that shapes its sound, known from the bundle's manifest and the
// options alone, so that a kept phrase needs no engine.

import { join } from "node:path";
import { version } from "../../../package.json";
import { PhraseCache, phraseKey, seedOf } from "../../announce/phrases.ts";
import { localeOf, type Part } from "../../announce/template.ts";
import { type ConfigFlags, LIMITS, loadConfig } from "../../config.ts";
import { keptLoudness } from "../../engine/voice-loudness.ts";
import type { SpeakOptions, Voice } from "../../engine.ts";
import type { Bundle } from "../../formats/bundle.ts";
import { voiceToFile } from "../../formats/voice.ts";
import { readTextFile, textOrEmpty } from "../../io/read.ts";
import { isTerminal } from "../../io/terminal.ts";
import { resolveModel } from "../../models/resolve.ts";
import { promptDefaults } from "../../text/prompt.ts";
import { announcing } from "./engine.ts";
import { hashOf, shapeOf } from "./kind.ts";
import { clearProgress, log } from "./log.ts";
import { MACHINE_OPTIONS, readMachine } from "./machine-options.ts";
import { filePath, type Options, type Values } from "./options.ts";
import {
  modelFor,
  readSpeakOptions,
  SAMPLING_OPTIONS,
  TEXT_OPTIONS,
  VOICE_OPTIONS,
} from "./speak-options.ts";
import { readVoice } from "./voice.ts";

/** What shapes a phrase's sound. */
export const PHRASE_OPTIONS = {
  ...TEXT_OPTIONS,
  ...VOICE_OPTIONS,
  ...SAMPLING_OPTIONS,
  ...MACHINE_OPTIONS,
} as const satisfies Options;

/** How phrases are spoken, and what they are kept under. */
export interface PhraseVoice {
  model: string | undefined;
  machine: ConfigFlags;
  lexicon: string | undefined;
  /** For a part; without a seed of the user's, it has one of its text, so that it is the same next time. */
  optionsFor(part: Part): SpeakOptions;
  keyOf(part: Part): string;
  /** Of the language that is spoken. */
  locale: string;
  /** LUFS, or null where the voice was never measured. */
  loudness: number | null;
}

export const openPhrases = () => new PhraseCache(join(loadConfig().cacheDir, "phrases"));
/** What others in the fleet have made: it goes by itself, as phrases do. */
export const openOthersPhrases = () => new PhraseCache(join(loadConfig().cacheDir, "fleet-phrases"));

/** How a phrase is spoken; the key of a cloned voice covers all that its file holds. */
export type PhraseOptions = SpeakOptions & { voice?: Voice };

/** What all phrases of a run have in common. */
export interface PhraseBase extends Pick<PhraseVoice, "lexicon" | "machine" | "model"> {
  bundle: Bundle;
  cacheDir: string;
  /** Hashes of the user's list of pronunciations and of the one that an option names. */
  lexicons: readonly string[];
}

/**
 * Reads the options, and finds the model; one that was never used is converted for it.
 * @throws TtsError USAGE, VOICE_*, MODEL_*, INPUT_UNREADABLE and those of a conversion
 */
export async function readPhraseVoice(args: Values<typeof PHRASE_OPTIONS>): Promise<PhraseVoice> {
  const options = await readPhraseOptions(args);
  return phraseVoice(await readPhraseBase(args, options), options);
}

/** @throws TtsError USAGE, VOICE_* */
export async function readPhraseOptions(args: Values<typeof PHRASE_OPTIONS>): Promise<PhraseOptions> {
  const voice = await readVoice(args.voice);
  return { ...readSpeakOptions(args), trimStart: true, voice };
}

/** @throws TtsError as {@link readPhraseVoice} */
export async function readPhraseBase(
  args: Values<typeof PHRASE_OPTIONS>,
  { speaker, voice }: Pick<PhraseOptions, "speaker" | "voice">,
): Promise<PhraseBase> {
  const machine = readMachine(args);
  const config = loadConfig(machine);
  const lexicon = filePath(args, "lexicon");
  const words = lexicon === undefined ? "" : await readTextFile(lexicon, LIMITS.lexiconBytes);
  const model = args.model ?? modelFor(speaker, voice, config.cacheDir);
  const tell = isTerminal(2) ? log.info : log.debug; // cron would send it as mail
  const bundle = await resolveModel({ config, model, onProgress: announcing(model, tell) });
  clearProgress();
  const lexicons = [textOrEmpty(join(config.configDir, "lexicon.txt")), words].map(hashOf);
  return { bundle, cacheDir: config.cacheDir, lexicon, lexicons, machine, model };
}

/** @throws TtsError where the model cannot speak so */
export function phraseVoice(base: PhraseBase, options: PhraseOptions): PhraseVoice {
  const { bundle, cacheDir, lexicon, lexicons, machine, model } = base;
  const { manifest } = bundle;
  const { npu, predictor, talker, vocoder } = machine;
  const shape = {
    version,
    model: shapeOf(manifest),
    backends: { npu, predictor, talker, vocoder },
    options: { ...options, voice: undefined, seed: undefined },
    voice: options.voice === undefined ? "" : hashOfVoice(options.voice),
    lexicons,
  };
  const optionsFor = ({ text }: Part) => ({ ...options, seed: options.seed ?? seedOf(text) });
  return {
    ...{ lexicon, machine, model, optionsFor },
    keyOf: (part) => phraseKey({ ...shape, text: part.text, seed: optionsFor(part).seed }),
    loudness: keptLoudness(bundle, options, cacheDir),
    locale: localeOf(options.language ?? promptDefaults(manifest.prompt).language),
  };
}

/** Its name says nothing about its sound. */
const hashOfVoice = (voice: Voice) => voiceToFile({ ...voice, name: "" }).sha256;
