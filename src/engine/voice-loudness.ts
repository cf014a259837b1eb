// The loudness of a voice: measured once by speaking a few sentences, and kept in the cache. So a voice has
// one gain, and its quiet sentences stay quieter than its loud ones.

import { mkdirSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { LoudnessMeter } from "../audio/loudness.ts";
import { type Bundle, type Manifest, weightsHash } from "../formats/bundle.ts";
import { removeLitter, replaceFile } from "../io/atomic.ts";
import { newHash } from "../io/hash.ts";
import { jsonOrNull } from "../io/read.ts";
import type { AudioChunk } from "./jobs.ts";
import { type ClonedVoice, type PreparedVoice, prepareVoice, type SpeechOptions } from "./request.ts";

/** Spoken with the seeds 1, 2 and 3, in every language that models have. */
const SENTENCES: Readonly<Record<string, readonly string[]>> = {
  chinese: ["晚饭已经准备好了。", "请关上窗户，谢谢。", "今天下午会下雨。"],
  english: ["Dinner is ready.", "Please close the windows.", "It will rain this afternoon."],
  french: ["Le dîner est prêt.", "Fermez les fenêtres, s'il vous plaît.", "Il va pleuvoir cet après-midi."],
  german: ["Das Essen ist fertig.", "Bitte schließt die Fenster.", "Heute Nachmittag wird es regnen."],
  italian: ["La cena è pronta.", "Per favore, chiudete le finestre.", "Oggi pomeriggio pioverà."],
  japanese: ["夕食の準備ができました。", "窓を閉めてください。", "今日の午後は雨が降ります。"],
  korean: ["저녁 식사가 준비되었습니다.", "창문을 닫아 주세요.", "오늘 오후에는 비가 옵니다."],
  portuguese: ["O jantar está pronto.", "Por favor, fechem as janelas.", "Vai chover esta tarde."],
  russian: ["Ужин готов.", "Пожалуйста, закройте окна.", "Сегодня днём будет дождь."],
  spanish: ["La cena está lista.", "Por favor, cierren las ventanas.", "Esta tarde va a llover."],
};
/** 4 s: the longest of them takes less, and one without an end costs no more. */
const MOST_FRAMES = 50;
/** Voices that are kept; the one measured first goes first. */
const MOST_VOICES = 500;
/** Nothing else is a loudness of speech. */
const [LEAST_LUFS, MOST_LUFS] = [-70, 10];

/** What a loudness belongs to. */
export interface MeasuredVoice {
  manifest: Manifest;
  prepared: PreparedVoice;
  voice?: ClonedVoice;
}

type VoiceOptions = Pick<SpeechOptions, "instruct" | "language" | "speaker" | "voice">;

/**
 * The options that say whose voice it is. A designed voice is its instruction; to others that says how to
 * speak, such as to whisper.
 */
export const voiceOptions = (
  { prompt }: Manifest,
  { instruct, language, speaker, voice }: VoiceOptions,
): VoiceOptions => ({
  ...{ language, speaker, voice },
  instruct: prompt.modelType === "voice_design" ? instruct : undefined,
});

/** LUFS of a voice that was measured before, or null. Needs no engine. */
export function keptLoudness(bundle: Bundle, request: VoiceOptions, cacheDir: string): number | null {
  const { manifest } = bundle;
  const options = voiceOptions(manifest, request);
  const measured = { manifest, prepared: prepareVoice(bundle, options), voice: options.voice };
  return readKept(fileOf(cacheDir, keyOf(measured)));
}

/** How a sentence is drawn. */
interface Draw {
  seed: number;
  maxFrames: number;
}

/**
 * The loudness that is kept, or else that of a few sentences.
 * @param speak says one of them with the voice
 * @returns LUFS; -Infinity for a voice that was silent, which is not kept
 */
export async function loudnessOf(
  voice: MeasuredVoice,
  { cacheDir, onMeasure, signal }: { cacheDir: string; onMeasure: () => void; signal?: AbortSignal },
  speak: (text: string, draw: Draw) => AsyncIterable<AudioChunk>,
): Promise<number> {
  const file = fileOf(cacheDir, keyOf(voice));
  const kept = readKept(file);
  if (kept !== null) return kept;
  onMeasure();
  const texts = SENTENCES[languageOf(voice)];
  const spoken = await Promise.all(
    texts.map((text, i) => Array.fromAsync(speak(text, { seed: i + 1, maxFrames: MOST_FRAMES }))),
  );
  signal?.throwIfAborted(); // what was spoken by then is not the voice
  const meter = new LoudnessMeter();
  for (const { samples } of spoken.flat()) meter.push(samples);
  const lufs = Math.round(100 * meter.integrated()) / 100;
  if (isLoudness(lufs)) keep(file, lufs);
  return lufs;
}

const isLoudness = (value: unknown): value is number =>
  typeof value === "number" && value > LEAST_LUFS && value < MOST_LUFS;

/** English where the model decides by itself, reads IPA, or has a language without sentences here. */
function languageOf({ manifest: { prompt, reading }, prepared: { message } }: MeasuredVoice): string {
  const [name = ""] = Object.entries(prompt.languages).find(([, id]) => id === message.language) ?? [];
  if (name.includes("dialect")) return "chinese";
  return reading === null && Object.hasOwn(SENTENCES, name) ? name : "english";
}

/** Everything that says whose voice it is. */
function keyOf(measured: MeasuredVoice): string {
  const { manifest, prepared, voice } = measured;
  const { instruct, speaker } = prepared.settings;
  const hash = newHash().update(weightsHash(manifest));
  hash.update(JSON.stringify([speaker.toLowerCase(), languageOf(measured), instruct, voice?.text]));
  if (voice !== undefined) hash.update(voice.xVector).update(voice.codes ?? new Int32Array(0));
  return hash.digest("hex");
}

/** Each voice has a file of its own, so that processes that measure at once lose nothing. */
const fileOf = (cacheDir: string, key: string) => join(cacheDir, "loudness", key);

/** LUFS, or null. What is damaged counts as not there. */
function readKept(file: string): number | null {
  const lufs = jsonOrNull(file);
  return isLoudness(lufs) ? lufs : null;
}

/** Does nothing where the cache cannot be written: the voice is measured again next time. */
function keep(file: string, lufs: number): void {
  const folder = dirname(file);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    replaceFile(file, JSON.stringify(lufs), { flush: false, family: join(folder, "voice") });
    const voices = readdirSync(folder).filter((name) => !name.startsWith("."));
    if (voices.length <= MOST_VOICES) return;
    const measured = voices.map((name) => ({ name, atMs: statSync(join(folder, name)).mtimeMs }));
    for (const { name } of measured.toSorted((a, b) => b.atMs - a.atMs).slice(MOST_VOICES))
      removeLitter(join(folder, name));
  } catch {
    return;
  }
}
