// What a text would be read as, without speaking it: no stage is opened, and a checkpoint that was never
// converted is read where it lies.

import { foreignOrderOf } from "../backends/gguf.ts";
import { type Config, DEFAULT_WEIGHTS, weightTypes } from "../config.ts";
import { makeManifest } from "../convert/manifest.ts";
import { type Bundle, isBundle } from "../formats/bundle.ts";
import { openCheckpoint } from "../formats/checkpoint.ts";
import { readVocabulary } from "../formats/checkpoint-tokenizer.ts";
import { Merges } from "../formats/tokenizer.ts";
import { isCached } from "../models/cache.ts";
import { resolveModel } from "../models/resolve.ts";
import { assertSayable, type Lexicon, type Pronounced } from "../text/lexicon.ts";
import { promptDefaults } from "../text/prompt.ts";
import { plainWords } from "../text/reading.ts";
import { sentenceEnds } from "../text/split.ts";
import { openTokenizer, Tokenizer } from "../text/tokenizer.ts";
import { type LexiconSource, readLexicons } from "./lexicon.ts";
import { loadRules, type ReadingContext, readText, type TextReading } from "./read-text.ts";
import { checkNormalize, pausesOf, type SpeechOptions } from "./request.ts";

export interface PreviewOptions {
  config: Config;
  /** A name, a hub id, a bundle or a checkpoint directory; default: the starter voice. */
  model?: string;
  /** Pronunciation list besides the user's own. */
  lexicon?: LexiconSource;
  /** Whether each sentence comes with what the model gets. */
  detailed: boolean;
}

export interface Preview {
  sentences: PreviewedSentence[];
  /** Why speaking would have the bundle in the cache made again first, or "". */
  again: string;
  /** What the voice cannot read. */
  unread: readonly string[];
  /** Markup that is not obeyed. */
  ignored: readonly string[];
}

export interface PreviewedSentence {
  /**
   * On one line; `[pause 500ms]` for silence. In lower case and with commas for pauses, where the text is
   * read in words.
   */
  words: string;
  /** IPA, or token ids; "" where none was asked for. */
  detail: string;
}

/** @throws TtsError as opening the model and speaking the text would */
export async function previewText(
  text: string,
  options: SpeechOptions,
  { config, detailed, lexicon, model }: PreviewOptions,
): Promise<Preview> {
  const { given, lexicon: pronunciations } = await readLexicons(config.configDir, lexicon);
  let again = "";
  const make = (directory: string, name: string, because: string) => {
    again = because;
    return unconverted(directory, name);
  };
  const bundle = await resolveModel({ config, model, make });
  if (isCached(bundle, config.cacheDir)) again = foreignOrderOf(bundle, config) ?? "";
  for (const pronunciation of given) assertSayable(pronunciation, bundle.manifest.reading !== null);
  checkNormalize(bundle, options);
  const plain = await contextFor(bundle, options, pronunciations);
  const { rules } = plain;
  const passages: { said: Pronounced; pauseMs: number }[] = [];
  const onSaid = (said: Pronounced, pauseMs: number) => passages.push({ said, pauseMs });
  const { ignored, pauses, sentences: prompts, unread } = readText({ ...plain, onSaid }, text);
  const readsIpa = bundle.manifest.reading !== null;
  const inWords = options.rawText !== true && (readsIpa || options.normalize === true);
  const tokens = detailed && !readsIpa ? tokenizerOf(bundle) : null;
  const detail = (sentence: string, { sounds }: Pronounced) => {
    if (tokens !== null) return tokens.encode(sentence).join(" ");
    return detailed && inWords ? rules.reader!.read(sentence, sounds).ipa : "";
  };
  try {
    const sentences = passages.flatMap(({ pauseMs, said }) => [
      silence(pauseMs),
      ...sentencesOf(said.text).map((sentence) => ({
        words: inWords ? plainWords(sentence, said.sounds) : sentence.trim().replace(/\s+/g, " "),
        detail: detail(sentence, said),
      })),
    ]);
    sentences.push(silence(pauses.get(prompts.length) ?? 0));
    return { sentences: sentences.filter(({ words }) => words !== ""), again, ignored, unread };
  } finally {
    tokens?.close();
  }
}

/** What reads texts into the sentences that an engine with this bundle would speak. */
export async function sentenceReader(
  bundle: Bundle,
  options: SpeechOptions,
  { config, lexicon }: Pick<PreviewOptions, "config" | "lexicon">,
): Promise<(text: string) => Pick<TextReading, "ignored" | "sentences" | "unread">> {
  const { lexicon: pronunciations } = await readLexicons(config.configDir, lexicon);
  const context = await contextFor(bundle, options, pronunciations);
  return (text) => readText(context, text);
}

async function contextFor(
  bundle: Bundle,
  { language, normalize = false, pauses, rawText = false }: SpeechOptions,
  lexicon: Lexicon,
): Promise<ReadingContext> {
  const spoken = language ?? promptDefaults(bundle.manifest.prompt).language;
  const settings = { language: spoken, normalize, rawText, pauses: pausesOf(pauses) };
  return { bundle, settings, lexicon, rules: await loadRules(bundle) };
}

const silence = (ms: number): PreviewedSentence => ({ words: ms === 0 ? "" : `[pause ${ms}ms]`, detail: "" });

/** The space between two belongs to the second, as in the tokens of a prompt that holds both. */
function sentencesOf(text: string): string[] {
  const ends = [...sentenceEnds(text), text.length];
  let space = "";
  return ends.map((end, i) => {
    const part = text.slice(ends[i - 1] ?? 0, end);
    const sentence = space + part.trimEnd();
    space = part.slice(part.trimEnd().length);
    return sentence;
  });
}

/** A checkpoint as if it were a bundle: enough of one to read a text with. */
function unconverted(directory: string, name: string): Bundle {
  const checkpoint = openCheckpoint(directory);
  try {
    const { controlTokens } = readVocabulary(checkpoint);
    const made = { name, weights: weightTypes(DEFAULT_WEIGHTS), controlTokens, files: {}, source: {} };
    return {
      directory,
      manifest: makeManifest(checkpoint, {
        ...made,
        arranged: null,
        libraries: { llama: "", onnxruntime: "" },
      }),
    };
  } finally {
    checkpoint.close();
  }
}

function tokenizerOf(bundle: Bundle): Tokenizer {
  if (isBundle(bundle.directory)) return openTokenizer(bundle);
  const checkpoint = openCheckpoint(bundle.directory);
  try {
    const { controlTokens, merges } = readVocabulary(checkpoint);
    return new Tokenizer(new Merges(merges, checkpoint.textVocabulary), controlTokens);
  } finally {
    checkpoint.close();
  }
}
