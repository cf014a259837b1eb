// Cloned voices: small JSON files with which a Base model speaks, and the folder that keeps them. Format:
// models/VOICE.md.

import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileError, TtsError } from "../errors.ts";
import { replaceFile } from "../io/atomic.ts";
import { newHash } from "../io/hash.ts";
import { readBytes, readRegularFile } from "../io/read.ts";
import { nearest } from "../nearest.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { isFrame } from "./codes.ts";

const VOICE_FORMAT = "qwen3-tts-voice";
/** Raised whenever older programs can no longer read new files. */
const VOICE_VERSION = 1;
const MODEL_FAMILY = "qwen3-tts-12hz";
const EXTENSION = ".voice.json";
export const VOICE_NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
/** A voice of ten minutes is far smaller. */
const MAX_FILE_BYTES = 8 * 2 ** 20;

/** Where a voice comes from. */
export interface Provenance {
  /** The model with which the voice was taken. The next two are hashes of its weights. */
  model: string;
  modelSha256: string;
  codecSha256: string;
  recordingSha256: string;
  recordingSeconds: number;
  /** Silence that was added after the recording. */
  tailSilenceSeconds: number;
  /** ISO 8601 */
  made: string;
}

export interface Voice {
  name: string;
  /** The words of the recording, or "" for the speaker vector alone. */
  text: string;
  /** f32 [hidden]: only models of that width can use it. */
  xVector: Float32Array;
  /** i32 [frames, 16], or null without a text */
  codes: Int32Array | null;
  /** Size of the codebooks; every code is below it. */
  codebookSize: number;
  provenance: Provenance;
}

/** A voice as JSON, with plain numbers, so that any program can read it. */
export interface VoiceFile {
  format: typeof VOICE_FORMAT;
  version: number;
  family: typeof MODEL_FAMILY;
  name: string;
  text: string;
  hidden: number;
  codebookSize: number;
  xVector: number[];
  /** frames of 16 */
  codes: number[][] | null;
  provenance: Provenance;
  /** SHA-256 of the JSON of all fields above, in this order. */
  sha256: string;
}

export function voiceToFile(voice: Voice): VoiceFile {
  const { name, text, xVector, codes, codebookSize, provenance } = voice;
  const frames =
    codes === null
      ? null
      : Array.from({ length: codes.length / CODES_PER_FRAME }, (_, i) =>
          Array.from(codes.subarray(i * CODES_PER_FRAME, (i + 1) * CODES_PER_FRAME)),
        );
  const content = {
    format: VOICE_FORMAT,
    version: VOICE_VERSION,
    family: MODEL_FAMILY,
    name,
    text,
    hidden: xVector.length,
    codebookSize,
    xVector: Array.from(xVector),
    codes: frames,
    provenance,
  } as const;
  return { ...content, sha256: hashOf(content) };
}

const hashOf = (content: object) => newHash().update(JSON.stringify(content)).digest("hex");

/**
 * Writes a voice file completely or not at all.
 * @throws TtsError OUTPUT_FAILED with this hint
 */
export function writeVoiceFile(path: string, voice: Voice, hint?: string): void {
  try {
    replaceFile(path, `${JSON.stringify(voiceToFile(voice))}\n`);
  } catch (cause) {
    throw fileError("OUTPUT_FAILED", path, cause, { use: "write", hint });
  }
}

/**
 * Reads and checks a voice file; refuses what is no regular file.
 * @throws TtsError VOICE_INVALID when it is damaged or changed, or of a newer version or another family
 */
export function readVoiceFile(path: string): Voice {
  let bytes: Uint8Array;
  try {
    bytes = readRegularFile(path, MAX_FILE_BYTES, tooLarge(path));
  } catch (cause) {
    throw fileError("VOICE_INVALID", path, cause, { use: "read" });
  }
  return parseVoice(bytes, path);
}

/**
 * Reads and checks a voice from a file or a pipe that the user names.
 * @throws TtsError VOICE_INVALID, INPUT_UNREADABLE
 */
export const receiveVoice = async (path: string): Promise<Voice> =>
  parseVoice(await readBytes(path, MAX_FILE_BYTES, tooLarge(path)), path);

const invalid = (path: string, what: string, hint = "export or make the voice again") =>
  new TtsError("VOICE_INVALID", `${path} ${what}`, hint);

const tooLarge = (path: string) => invalid(path, "is too large for a voice");

function parseVoice(bytes: Uint8Array, path: string): Voice {
  const fail = (what: string, hint?: string) => invalid(path, what, hint);
  let file: VoiceFile;
  try {
    file = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw fail("is cut short or no voice file");
  }
  if (file?.format !== VOICE_FORMAT)
    throw fail("is no voice file", "voice files are made by tts voices add or export");
  if (!(file.version <= VOICE_VERSION))
    throw fail(
      `has version ${file.version}, this program reads up to ${VOICE_VERSION}`,
      "use a newer program",
    );
  if (file.family !== MODEL_FAMILY)
    throw fail(`is for the model family ${JSON.stringify(file.family)}, not ${MODEL_FAMILY}`);
  const { sha256, ...content } = file;
  if (sha256 !== hashOf(content)) throw fail("is damaged: its contents do not match its checksum");
  const field = unusableField(file);
  if (field !== null) throw fail(`has no usable ${field}`);
  return {
    name: file.name,
    text: file.text,
    xVector: Float32Array.from(file.xVector),
    codes: file.codes === null ? null : Int32Array.from(file.codes.flat()),
    codebookSize: file.codebookSize,
    provenance: file.provenance,
  };
}

/**
 * The first field that is unusable, or null. Voices come from other people and programs, and their numbers go
 * to native code unchanged.
 */
function unusableField({
  codebookSize,
  codes,
  hidden,
  name,
  provenance,
  text,
  xVector,
}: VoiceFile): keyof VoiceFile | null {
  if (typeof name !== "string" || !VOICE_NAME.test(name)) return "name";
  if (typeof text !== "string") return "text";
  if (!Array.isArray(xVector) || xVector.length !== hidden || !xVector.every(Number.isFinite))
    return "xVector";
  if (
    codes !== null &&
    !(Array.isArray(codes) && codes.length > 0 && codes.every((frame) => isFrame(frame, codebookSize)))
  )
    return "codes";
  const { made, model, recordingSeconds } = provenance ?? {};
  return typeof model === "string" && typeof made === "string" && Number.isFinite(recordingSeconds)
    ? null
    : "provenance";
}

/** @throws TtsError USAGE unless it can be a file name everywhere */
export function assertVoiceName(name: string): void {
  if (VOICE_NAME.test(name)) return;
  throw new TtsError(
    "USAGE",
    `"${name}" cannot be the name of a voice`,
    "use up to 64 small letters, digits, - and _",
  );
}

/** The voices of one user: a folder of files. */
export class VoiceFolder {
  constructor(readonly directory: string) {}

  names(): string[] {
    if (!existsSync(this.directory)) return [];
    const files = readdirSync(this.directory).filter((file) => file.endsWith(EXTENSION));
    return files
      .map((file) => file.slice(0, -EXTENSION.length))
      .filter((name) => VOICE_NAME.test(name))
      .toSorted();
  }

  path(name: string): string {
    assertVoiceName(name);
    return join(this.directory, name + EXTENSION);
  }

  has(name: string): boolean {
    return existsSync(this.path(name));
  }

  /** @throws TtsError OUTPUT_FAILED when the name is taken and its voice is not to be replaced */
  assertFree(name: string, replace: boolean): void {
    if (replace || !this.has(name)) return;
    throw new TtsError(
      "OUTPUT_FAILED",
      `there is a voice ${name} already`,
      "choose another name, or replace it with {force}",
    );
  }

  /** @throws TtsError VOICE_UNKNOWN with the nearest name, VOICE_INVALID */
  read(name: string): Voice {
    this.assertKnown(name);
    return readVoiceFile(this.path(name));
  }

  private assertKnown(name: string): void {
    if (this.has(name)) return;
    const names = this.names();
    const guess = nearest(name, names);
    const known =
      names.length === 0
        ? "there are none yet: tts voices add NAME --from FILE"
        : `known voices: ${names.join(", ")}`;
    throw new TtsError(
      "VOICE_UNKNOWN",
      `there is no voice "${name}"`,
      guess === null ? known : `did you mean ${guess}?`,
    );
  }

  /**
   * A voice that is replaced stays until the new one is complete.
   * @throws TtsError OUTPUT_FAILED
   */
  write(voice: Voice, { replace = false } = {}): void {
    this.assertFree(voice.name, replace);
    const path = this.path(voice.name);
    const hint = "set TTS_VOICES to a writable folder";
    try {
      mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw fileError("OUTPUT_FAILED", path, cause, { use: "write", hint });
    }
    writeVoiceFile(path, voice, hint);
  }

  /** @throws TtsError VOICE_UNKNOWN, and OUTPUT_FAILED for a voice of the new name */
  rename(name: string, newName: string, { replace = false } = {}): void {
    const voice = this.read(name);
    if (newName === name)
      throw new TtsError("USAGE", `the voice is called ${name} already`, "choose another name");
    this.write({ ...voice, name: newName }, { replace });
    this.remove(name);
  }

  /** A damaged voice can be removed too. @throws TtsError VOICE_UNKNOWN, OUTPUT_FAILED */
  remove(name: string): void {
    this.assertKnown(name);
    const path = this.path(name);
    try {
      rmSync(path);
    } catch (cause) {
      throw fileError("OUTPUT_FAILED", path, cause, {
        use: "write",
        hint: "set TTS_VOICES to a writable folder",
      });
    }
  }
}
