// The text tokenizer: byte-level BPE by libllama on a vocabulary-only file.

import { LlamaModel, loadLlama } from "../../ffi/llama.ts";
import { bundlePath } from "../formats/bundle.ts";
import { checkTokenizerGguf } from "./_gguf.ts";
import type { OpenOptions, Tokenizer } from "./stage.ts";

export function openTokenizer({
  bundle,
  config,
  loadTurn,
}: Pick<OpenOptions, "bundle" | "config" | "loadTurn">): Tokenizer {
  loadLlama(config.libraries.llama, loadTurn);
  const path = bundlePath(bundle, "tokenizer");
  checkTokenizerGguf(path, bundle.manifest.shape.textVocabulary);
  const model = LlamaModel.open(path, { vocabOnly: true });
  return { encode: (text) => model.tokenize(text), close: () => model.close() };
}
