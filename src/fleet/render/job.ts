// A render as all that take part in it know it: its text in sections, how it is spoken, and the messages of
// its sentences. Whoever reaches the hub can write one, so everything is read strictly; the engine's door
// checks the options of a voice.

import type { ClonedVoice, SpeakOptions, SpeechSettings } from "../../engine.ts";
import type { JsonFile } from "../../formats/json.ts";
import { newHash } from "../../io/hash.ts";
import { RENDER_LIMITS } from "../../limits.ts";
import { isName } from "../names.ts";
import { readMessage } from "../wire.ts";
import type { Section } from "./sections.ts";

/** What decides every bit of a render. */
export interface Job {
  /** Hash of all the rest: a render that is begun again finds what was finished. */
  id: string;
  /** Of the boards that make the same bits as this machine. */
  kind: string;
  sections: readonly Section[];
  /** Of the first section; the seed of each further one is one higher. */
  options: VoiceOptions;
}

/** How sentences are spoken, with nothing left to defaults, which boards may have changed. */
export type VoiceOptions = Omit<SpeakOptions, "signal" | "trimStart" | "sentences" | "priority"> & {
  seed: number;
};

/** Where a sentence stands. */
export interface Place {
  section: number;
  sentence: number;
}

/** A section as boards get it. */
export interface SectionText {
  text: string;
  options: VoiceOptions;
}

/** What a board tells of a sentence. */
export interface Notice extends Place {
  board: string;
  /** `lost`: the hub has no text for it. */
  state: "begun" | "done" | "failed" | "lost";
  /** Why it failed, in one line, or "". */
  reason: string;
}

const MOST_MESSAGE_BYTES = 4_096;
const MOST_REASON = 500;
const ID = /^[0-9a-f]{16,64}$/;
/** Each section has a character at least, and so has each sentence. */
const MOST_PLACES = RENDER_LIMITS.bookBytes;

export function jobOf(kind: string, sections: readonly Section[], options: VoiceOptions): Job {
  const shape = [kind, sections, { ...options, voice: plainVoice(options.voice) }];
  const id = newHash().update(JSON.stringify(shape)).digest("hex").slice(0, 32);
  return { id, kind, sections, options };
}

/** The options for a voice of these settings, so that another engine speaks as the one that resolved them. */
export function optionsOf(settings: SpeechSettings, voice?: ClonedVoice, watch?: boolean): VoiceOptions {
  const { instruct, speaker, voice: _, ...rest } = settings;
  return {
    ...rest,
    ...(voice === undefined ? { speaker } : { voice }),
    ...(instruct === "" ? {} : { instruct }),
    ...(watch === undefined ? {} : { watch }),
  };
}

export const sectionText = ({ options, sections }: Job, section: number): SectionText => ({
  text: sections[section].text,
  options: { ...options, seed: (options.seed + section) % Number.MAX_SAFE_INTEGER },
});

export const keyOf = (job: string, { section, sentence }: Place) => `${job}-${section}-${sentence}`;
export const textKeyOf = (job: string, section: number) => `${job}-${section}-text`;
export const noticeSubject = (job: string) => `tts.rendered.${job}`;

export function writeSection({ options, text }: SectionText): Buffer {
  return Buffer.from(JSON.stringify({ text, options: { ...options, voice: plainVoice(options.voice) } }));
}

/** JSON has every f32 to the bit. */
const plainVoice = (voice?: ClonedVoice) =>
  voice && {
    ...{ name: voice.name, text: voice.text, codebookSize: voice.codebookSize },
    xVector: [...voice.xVector],
    codes: voice.codes && [...voice.codes],
  };

/** @throws TtsError REQUEST_INVALID; the engine checks the options */
export function readSection(bytes: Uint8Array): SectionText {
  const file = parsed("text to render", bytes, RENDER_LIMITS.textBytes);
  const options = file.object("options");
  const voice = options.has("voice") ? readVoice(options.object("voice")) : undefined;
  const rest = Object.fromEntries(options.entries().filter(([name]) => !NOT_OF_A_VOICE.has(name)));
  const seed = options.within("seed", 0, Number.MAX_SAFE_INTEGER);
  return { text: file.string("text"), options: { ...rest, ...(voice && { voice }), seed } };
}

const NOT_OF_A_VOICE = new Set(["voice", "signal", "trimStart", "sentences", "priority"]);

function readVoice(file: JsonFile): ClonedVoice {
  const numbers = (key: string) => {
    const values = file.values(key);
    if (values.every((value) => typeof value === "number")) return values;
    throw file.wrong(`${key} holds what is no number`);
  };
  return {
    name: file.string("name"),
    text: file.string("text"),
    codebookSize: file.count("codebookSize"),
    xVector: Float32Array.from(numbers("xVector")),
    codes: file.has("codes") ? Int32Array.from(numbers("codes")) : null,
  };
}

export const writeWork = (job: string, { section, sentence }: Place) =>
  JSON.stringify({ job, section, sentence });

/** @throws TtsError REQUEST_INVALID */
export function readWork(bytes: Uint8Array): Place & { job: string } {
  const file = parsed("sentence to render", bytes, MOST_MESSAGE_BYTES);
  const job = file.string("job");
  if (!ID.test(job)) throw file.wrong("job is no hash");
  return { job, ...readPlace(file) };
}

export const writeNotice = (notice: Notice) =>
  JSON.stringify({ ...notice, reason: notice.reason.slice(0, MOST_REASON) });

/** @throws TtsError REQUEST_INVALID */
export function readNotice(bytes: Uint8Array): Notice {
  const file = parsed("notice of a sentence", bytes, MOST_MESSAGE_BYTES);
  const board = file.string("board");
  if (!isName(board)) throw file.wrong("board is no name");
  const state = file.choice("state", ["begun", "done", "failed", "lost"]);
  return { ...readPlace(file), board, state, reason: file.string("reason").slice(0, MOST_REASON) };
}

const readPlace = (file: JsonFile): Place => ({
  section: file.within("section", 0, MOST_PLACES),
  sentence: file.within("sentence", 0, MOST_PLACES),
});

const parsed = (title: string, bytes: Uint8Array, mostBytes: number): JsonFile =>
  readMessage(title, bytes, mostBytes, "tts render");
