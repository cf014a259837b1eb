// Checks a model file before the vendor's library sees it, and names what such a file often is instead. Knows
// no vendor.

import { fileError, systemCode, TtsError } from "../../src/errors.ts";
import { type MappedFile, mapFile } from "../libc.ts";

/** Vendors' functions take sizes of 32 bits. */
const LARGEST_MODEL = 2 ** 32 - 1;
const HEAD_BYTES = 64;

/**
 * Checks a model file and hands its bytes to `use`. The bytes are gone when `use` returns.
 * @throws TtsError NPU_MODEL_INVALID saying what the file is and how to get the right one
 */
export function withModelFile<T>(path: string, use: (bytes: Uint8Array<ArrayBuffer>) => T): T {
  const file = openModelFile(path);
  try {
    const { bytes } = file;
    const [what, hint] = strangerIn(bytes);
    if (what !== "")
      throw new TtsError("NPU_MODEL_INVALID", `the model ${path} (${bytes.length} bytes) ${what}`, hint);
    return use(bytes);
  } finally {
    file.close();
  }
}

function openModelFile(path: string): MappedFile {
  try {
    return mapFile(path);
  } catch (cause) {
    const code = systemCode(cause);
    if (code === "ENOENT")
      throw new TtsError(
        "NPU_MODEL_INVALID",
        `the model ${path} does not exist`,
        "build it, or correct the folder",
        { cause },
      );
    const hint =
      code === "EACCES" ? "make it readable for this user" : "give the path of the model file itself";
    throw fileError("NPU_MODEL_INVALID", `the model ${path}`, cause, { use: "read", hint });
  }
}

/** What a file's beginning shows to be wrong, and what to do; two empty texts when nothing is. */
function strangerIn(bytes: Uint8Array): [what: string, hint: string] {
  if (bytes.length === 0) return ["is empty", "copy or build it again"];
  if (bytes.length > LARGEST_MODEL)
    return ["is larger than 4 GB", "split the graph: the vendor's library takes no more"];
  const head = bytes.subarray(0, HEAD_BYTES);
  if (!head.every(isTextByte)) return ["", ""];
  const text = Buffer.from(head).toString("latin1").replace(/\s+/g, " ").trim();
  if (text.startsWith("version https://git-lfs"))
    return ["is a Git LFS pointer, not the model itself", 'fetch the model with "git lfs pull"'];
  if (text.startsWith("<"))
    return ["is a web page", "download the file itself: the server sent a page in its place"];
  return [`is a text that begins "${text.slice(0, 32)}"`, "download or build the model again"];
}

const isTextByte = (byte: number) => (byte >= 32 && byte < 127) || (byte >= 9 && byte <= 13);
