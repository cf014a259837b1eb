// Reads the byte-level BPE tokenizer of a checkpoint: vocab.json, merges.txt and tokenizer_config.json, or
// the one tokenizer.json that transformers 5 writes in their place.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "./checkpoint.ts";
import { invalid, isId, type JsonFile, readJson, readJsonOrEmpty } from "./checkpoint-json.ts";

const TOKEN_TYPE = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;
/** Special tokens by the key of config.json that holds their id, where no file of the tokenizer gives it. */
const CONFIG_TOKENS = {
  im_start_token_id: "<|im_start|>",
  im_end_token_id: "<|im_end|>",
  tts_pad_token_id: "<tts_pad>",
  tts_bos_token_id: "<tts_text_bos>",
  tts_eos_token_id: "<tts_text_eod>",
} as const;

export interface Vocabulary {
  /** In id order; every id is a row of the text embedding. */
  tokens: string[];
  types: Int32Array;
  /** Tokens that are recognised inside text, for example `<|im_end|>`. */
  controlTokens: string[];
  /** Two pieces and a space between them; the first merge wins. */
  merges: string[];
}

interface AddedToken {
  file: string;
  id: unknown;
  content: string;
  special: boolean;
}

/** @throws TtsError CHECKPOINT_INVALID naming file, token and value */
export function readVocabulary({ config, directory, textVocabulary }: Checkpoint): Vocabulary {
  const tokens: string[] = [];
  const checkId = (file: string, token: string, id: unknown): number => {
    if (isId(id, textVocabulary)) return id;
    throw invalid(
      file,
      `${JSON.stringify(token)} has the id ${JSON.stringify(id)}, not one from 0 to ${textVocabulary - 1}`,
    );
  };
  const { file, merges, vocabulary } = readPieces(directory);
  for (const [token, id] of vocabulary) tokens[checkId(file, token, id)] = token;
  const added = addedTokens(directory, config, textVocabulary).map(({ content, file, id, special }) => {
    return { id: checkId(file, content, id), content, special };
  });
  for (const { content, id } of added) tokens[id] = content;
  const types = Int32Array.from(tokens, (token) =>
    token === undefined ? TOKEN_TYPE.unused : TOKEN_TYPE.normal,
  );
  for (const { id, special } of added) types[id] = special ? TOKEN_TYPE.control : TOKEN_TYPE.userDefined;
  for (let id = 0; id < tokens.length; id++) tokens[id] ??= `[unused ${id}]`;
  return { tokens, types, controlTokens: added.map(({ content }) => content), merges };
}

function readPieces(directory: string): {
  file: string;
  vocabulary: [token: string, id: unknown][];
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
      merges: lines.filter((line) => line !== "" && !line.startsWith("#version")),
    };
  }
  const whole = readJson(join(directory, "tokenizer.json"));
  const model = whole.object("model");
  model.only("type", "BPE");
  return {
    file: whole.file,
    vocabulary: model.object("vocab").entries(),
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
    return { file: config.file, id: config.id(key, textVocabulary), content, special: true };
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
  return ids.entries().map(([content, id]) => ({ file: ids.file, id, content, special: true }));
}

const addedToken = (entry: JsonFile, id: number): AddedToken => {
  return { file: entry.file, id, content: entry.string("content"), special: entry.boolean("special", true) };
};
