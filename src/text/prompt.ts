// Turns token ids into the talker's prompt as rows of integers, for every official layout. Pure: no weights,
// no tokenizer.

import { TtsError } from "../errors.ts";
import type { PromptSpec } from "../formats/bundle.ts";
import { NONE, type Row, type TextMode } from "../types.ts";

/** The strings that are tokenised whole; the slices below are positional. */
export const wrapText = (text: string) => `<|im_start|>assistant\n${text}<|im_end|>\n<|im_start|>assistant\n`;
export const wrapReference = (text: string) => `<|im_start|>assistant\n${text}<|im_end|>\n`;
export const wrapInstruct = (text: string) => `<|im_start|>user\n${text}<|im_end|>\n`;

const ROLE = 3; // <|im_start|> assistant \n
const TEXT_TAIL = 5; // <|im_end|> \n <|im_start|> assistant \n
const REFERENCE_TAIL = 2; // <|im_end|> \n

/** A recorded voice to continue from (in-context cloning). */
export interface Reference {
  /** Ids of the wrapped reference text. */
  ids: ArrayLike<number>;
  /** Code 0 of every reference frame. */
  codes0: ArrayLike<number>;
}

export interface PromptRequest {
  /** Ids of the wrapped text. */
  ids: ArrayLike<number>;
  /** Ids of the wrapped instruction, or null. */
  instructIds: ArrayLike<number> | null;
  /** Codec id of the language, from {@link languageId}, or NONE for auto. */
  language: number;
  /** Codec id of a named speaker, `xVector`, or NONE. */
  speaker: number | "xVector";
  mode: TextMode;
  reference: Reference | null;
}

export interface Prompt {
  rows: Row[];
  /**
   * Number of rows at the start that are the same whatever the text is. Never all rows: the last one's
   * results begin the speech.
   */
  prefixRows: number;
  /** Position of the text's first token, and the number of its tokens; the others follow it one by one. */
  text: { from: number; count: number };
  /** Text ids added to the feedback of frame 0, 1, ...; after the last one, always `ttsPad`. */
  trailing: number[];
}

type Body = Omit<Prompt, "text">;

/** The offset of each text token in the text, in UTF-16 units; spaces before it are left out. */
export function tokenOffsets(text: string, ends: ArrayLike<number>): Int32Array {
  const all = Array.from(ends);
  const prefix = all[ROLE - 1];
  const starts = all.slice(ROLE - 1, -TEXT_TAIL - 1).map((end) => end - prefix);
  const bytes = Buffer.from(text);
  return Int32Array.from(starts, (start) => {
    const before = bytes.toString("utf8", 0, start).length;
    return before + /^\s*/.exec(text.slice(before))![0].length;
  });
}

/** The prompt of one sentence. */
export function buildPrompt(spec: PromptSpec, request: PromptRequest): Prompt {
  const { ids, instructIds, language, speaker, mode, reference } = request;
  const { ttsPad, ttsBos, ttsEos } = spec.text;
  const { codec } = spec;
  const tag =
    language === NONE
      ? [codec.nothink, codec.thinkBos, codec.thinkEos]
      : [codec.think, codec.thinkBos, language, codec.thinkEos];
  const all = Array.from(ids);
  const rows = [
    ...Array.from(instructIds ?? [], (id) => row(id)),
    ...all.slice(0, ROLE).map((id) => row(id)),
    ...tag.map((id) => row(ttsPad, id)),
  ];
  if (speaker === "xVector") rows.push({ ...row(ttsPad), speaker: true });
  else if (speaker !== NONE) rows.push(row(ttsPad, speaker));
  rows.push(row(ttsBos, codec.pad));
  const text = all.slice(ROLE, -TEXT_TAIL);
  const body = reference === null ? plainBody(spec, text, mode) : inContextBody(spec, text, mode, reference);
  const prompt = [...rows, ...body.rows];
  const recorded = reference === null ? 0 : reference.ids.length - ROLE - REFERENCE_TAIL;
  return {
    rows: prompt,
    text: { from: rows.length + recorded, count: text.length },
    prefixRows: Math.min(rows.length + body.prefixRows, prompt.length - 1),
    trailing: body.trailing.length > 0 ? body.trailing : [ttsPad],
  };

  function plainBody({ codec }: PromptSpec, text: number[], mode: TextMode): Body {
    const prefixRows = 0;
    if (mode === "stream")
      return { rows: [row(text[0], codec.bos)], prefixRows, trailing: [...text.slice(1), ttsEos] };
    return {
      rows: [...[...text, ttsEos].map((id) => row(id, codec.pad)), row(ttsPad, codec.bos)],
      prefixRows,
      trailing: [],
    };
  }

  function inContextBody(
    { codec }: PromptSpec,
    text: number[],
    mode: TextMode,
    { ids, codes0 }: Reference,
  ): Body {
    const recorded = Array.from(ids).slice(ROLE, -REFERENCE_TAIL);
    // in stream mode there may be fewer rows than that; then none of them depends on the text
    const prefixRows = recorded.length;
    const spoken = [...recorded, ...text, ttsEos];
    const frames = Array.from(
      codes0,
      (code, frame): Row => ({ text: ttsPad, codec: code, frame, speaker: false }),
    );
    const voice = [row(ttsPad, codec.bos), ...frames];
    if (mode === "whole")
      return { rows: [...spoken.map((id) => row(id, codec.pad)), ...voice], prefixRows, trailing: [] };
    const rows = voice.map((entry, i) => ({ ...entry, text: spoken[i] ?? ttsPad }));
    return { rows, prefixRows, trailing: spoken.slice(voice.length) };
  }
}

const row = (text: number, codec = NONE): Row => ({ text, codec, frame: NONE, speaker: false });

/** Names are not case-sensitive; "" and "none" mean no speaker. */
export function speakerId(spec: PromptSpec, name: string): number {
  const key = name.toLowerCase();
  if (key === "" || key === "none") return NONE;
  if (Object.hasOwn(spec.speakers, key)) return spec.speakers[key];
  const names = Object.keys(spec.speakers);
  const hint =
    names.length > 0 ? `this model has ${names.join(", ")}; or none` : "this model has no named speakers";
  throw new TtsError("SPEAKER_UNKNOWN", `there is no speaker "${name}"`, hint);
}

/** The languages that can be asked for. Dialects cannot: they come with their speaker. */
export function languageNames({ languages }: Pick<PromptSpec, "languages">): string[] {
  return Object.keys(languages).filter((name) => !name.includes("dialect"));
}

/** A language by its English name, or by a code such as `ru`, `ru-RU` or `ru_RU`. */
function languageName(given: string): string {
  try {
    const { language } = new Intl.Locale(given.replace("_", "-"));
    return new Intl.DisplayNames(["en"], { type: "language" }).of(language)?.toLowerCase() ?? given;
  } catch {
    return given; // not a language code
  }
}

/**
 * Codec id of a language, or NONE for auto. A speaker's dialect is used if the language is auto or chinese.
 * @throws TtsError LANGUAGE_UNKNOWN
 */
export function languageId(spec: PromptSpec, language: string, speaker: string): number {
  const names = languageNames(spec);
  const written = language.toLowerCase();
  const key = written === "auto" || names.includes(written) ? written : languageName(written);
  if (key !== "auto" && !names.includes(key)) {
    throw new TtsError(
      "LANGUAGE_UNKNOWN",
      `there is no language "${language}"`,
      `this model has auto, ${names.join(", ")}`,
    );
  }
  const dialect = Object.hasOwn(spec.dialects, speaker.toLowerCase())
    ? spec.dialects[speaker.toLowerCase()]
    : undefined;
  if (dialect !== undefined && (key === "auto" || key === "chinese")) return spec.languages[dialect];
  return key === "auto" ? NONE : spec.languages[key];
}

/**
 * Defaults for what the user does not name: the model's only language, else auto; its first speaker; its
 * official mode.
 */
export function promptDefaults(spec: PromptSpec): { language: string; speaker: string; mode: TextMode } {
  const names = languageNames(spec);
  return {
    language: names.length === 1 ? names[0] : "auto",
    speaker: Object.keys(spec.speakers)[0] ?? "",
    mode: spec.modelType === "base" ? "stream" : "whole",
  };
}
