// Reads the byte-level BPE tokenizer of a checkpoint: vocab.json, merges.txt and tokenizer_config.json, or
// the one tokenizer.json that transformers 5 writes in their place.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "./checkpoint.ts";
import { invalid, isId, type JsonFile, readJson, readJsonOrEmpty } from "./checkpoint-json.ts";
import { type MergeTables, MOST_MERGES } from "./tokenizer.ts";

/** Special tokens by the key of config.json that holds their id, where no file of the tokenizer gives it. */
const CONFIG_TOKENS = {
  im_start_token_id: "<|im_start|>",
  im_end_token_id: "<|im_end|>",
  tts_pad_token_id: "<tts_pad>",
  tts_bos_token_id: "<tts_text_bos>",
  tts_eos_token_id: "<tts_text_eod>",
} as const;

export interface Vocabulary {
  merges: MergeTables;
  /** Text -> id of tokens that are recognised inside text, for example `<|im_end|>`. */
  controlTokens: Record<string, number>;
}

interface AddedToken {
  file: string;
  id: unknown;
  content: string;
}

/** @throws TtsError CHECKPOINT_INVALID naming file, token and value */
export function readVocabulary({ config, directory, textVocabulary }: Checkpoint): Vocabulary {
  const checkId = (file: string, token: string, id: unknown): number => {
    if (isId(id, textVocabulary)) return id;
    throw invalid(
      file,
      `${JSON.stringify(token)} has the id ${JSON.stringify(id)}, not one from 0 to ${textVocabulary - 1}`,
    );
  };
  const { file, merges, mergesFile, vocabulary } = readPieces(directory);
  const pieces = new Map(vocabulary.map(([piece, id]) => [piece, checkId(file, piece, id)]));
  const control = new Map<string, number>();
  for (const { content, file, id } of addedTokens(directory, config, textVocabulary)) {
    const checked = checkId(file, content, id);
    const known = control.get(content) ?? pieces.get(content) ?? checked;
    if (known !== checked)
      throw invalid(file, `${JSON.stringify(content)} is there twice, with the ids ${known} and ${checked}`);
    if (content !== "") control.set(content, known); // the official tokenizer leaves an empty one out, too
  }
  return { merges: mergeTables(mergesFile, pieces, merges), controlTokens: Object.fromEntries(control) };
}

/** Of a merge that is listed twice the last place counts, as in the official tokenizer. */
function mergeTables(file: string, pieces: Map<string, number>, merges: string[]): MergeTables {
  if (merges.length > MOST_MERGES)
    throw invalid(file, `lists ${merges.length} merges, more than ${MOST_MERGES}`);
  const ranks = new Map<number, number>(); // by the pair as one number
  const ids = merges.map((merge, rank) => {
    const [left, right, ...more] = merge.split(" ");
    const [a, b, result] = [left, right, left + right].map((piece) => pieces.get(piece));
    if (a === undefined || b === undefined || result === undefined || more.length > 0)
      throw invalid(
        file,
        `the merge ${JSON.stringify(merge)} does not join two pieces of the vocabulary to one`,
      );
    ranks.set(a * 2 ** 32 + b, rank);
    return [a, b, result];
  });
  const sorted = [...ranks].toSorted(([a], [b]) => a - b).map(([, rank]) => rank);
  return {
    bytes: Int32Array.from(byteAlphabet(), (piece) => pieces.get(piece) ?? -1),
    merges: Int32Array.from(sorted.flatMap((rank) => ids[rank].slice(0, 2))),
    ranks: Int32Array.from(sorted),
    results: Int32Array.from(sorted, (rank) => ids[rank][2]),
  };
}

/**
 * The 256 characters that stand for bytes in GPT-2's vocabularies: printable ones for themselves, the others
 * from U+0100 on.
 */
export function byteAlphabet(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

function readPieces(directory: string): {
  file: string;
  vocabulary: [piece: string, id: unknown][];
  mergesFile: string;
  /** Two pieces and a space between them. */
  merges: string[];
} {
  const [vocabulary, merges] = ["vocab.json", "merges.txt"].map((name) => join(directory, name));
  if (existsSync(vocabulary) && existsSync(merges)) {
    const lines = readFileSync(merges, "utf8")
      .replace(/^\uFEFF/, "")
      .split(/\r?\n/);
    return {
      file: vocabulary,
      vocabulary: readJson(vocabulary).entries(),
      mergesFile: merges,
      merges: lines.filter((line) => line !== "" && !line.startsWith("#version")),
    };
  }
  const whole = readJson(join(directory, "tokenizer.json"));
  const model = whole.object("model");
  model.only("type", "BPE");
  return {
    file: whole.file,
    vocabulary: model.object("vocab").entries(),
    mergesFile: whole.file,
    merges: model.values("merges").map((merge, i) => {
      const pieces = typeof merge === "string" ? merge.split(" ") : merge;
      if (Array.isArray(pieces) && pieces.length === 2 && pieces.every((piece) => typeof piece === "string"))
        return pieces.join(" ");
      throw whole.wrong(`model.merges.${i} is ${JSON.stringify(merge)}, not a pair of pieces`);
    }),
  };
}

/** From the first source that has any: each lists all. Those of config.json are never without their text. */
function addedTokens(directory: string, config: JsonFile, textVocabulary: number): AddedToken[] {
  const added = listedTokens(directory);
  const ids = new Set(added.map(({ id }) => id));
  const named = Object.entries(CONFIG_TOKENS).map(([key, content]): AddedToken => {
    return { file: config.file, id: config.id(key, textVocabulary), content };
  });
  return [...added, ...named.filter(({ id }) => !ids.has(id))];
}

function listedTokens(directory: string): AddedToken[] {
  const settings = readJsonOrEmpty(join(directory, "tokenizer_config.json"));
  if (settings.has("added_tokens_decoder")) {
    const added = settings.object("added_tokens_decoder");
    return added.entries().map(([id]) => addedToken(added.object(id), Number(id)));
  }
  const whole = readJsonOrEmpty(join(directory, "tokenizer.json"));
  if (whole.has("added_tokens"))
    return whole.list("added_tokens", (entry) => addedToken(entry, entry.count("id")));
  const ids = readJsonOrEmpty(join(directory, "added_tokens.json"));
  return ids.entries().map(([content, id]) => ({ file: ids.file, id, content }));
}

const addedToken = (entry: JsonFile, id: number): AddedToken => {
  return { file: entry.file, id, content: entry.string("content") };
};
