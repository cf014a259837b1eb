// What the commands share around the engine: opening it with progress, playing a speech into a sink, and the
// closing line.

import type { Heard } from "../../audio/filters/heard.ts";
import { CONTEXT_POSITIONS, PROMPT_POSITIONS } from "../../config.ts";
import { formatCores } from "../../cores.ts";
import type { AudioChunk, Engine, OpenOptions, Sounding, Speech, StageName, Summary } from "../../engine.ts";
import { TtsError } from "../../errors.ts";
import { weightsInWords } from "../../formats/bundle.ts";
import { isStdout, printText } from "../../io/output.ts";
import type { Progress } from "../../types.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import { clearProgress, log, showConversion, showProgress } from "./log.ts";
import type { Outlet, SoundOutput } from "./sound-output.ts";
import { tellOpening } from "./start.ts";

/**
 * Says once why a bundle is made or what is added to it, and then how far that has come.
 * @param tell says what is no fault
 */
export function announcing(
  model = "the starter voice",
  tell: (line: string) => void = log.info,
): (progress: Progress) => void {
  let announced = false;
  return (progress) => {
    const { adding = "", because = "" } = progress;
    if (!announced && adding !== "") tell(`preparing ${adding} for ${model}`);
    else if (!announced && because === "") tell(`preparing ${model} for its first use`);
    else if (!announced) log.warn(`preparing ${model} again: ${because}`);
    announced = true;
    showConversion(progress);
  };
}

/**
 * Opens a model, and tells of its preparation. Its context has the usual size, or that of the options if it
 * is smaller.
 * @param maxFrames the most frames of a sentence
 * @param extra positions that prompts need beyond a plain text, for an instruction or a reference
 */
export async function openEngine(options: OpenOptions, maxFrames = 0, extra = 0): Promise<Engine> {
  const { open } = await import("../../engine.ts");
  const onProgress = announcing(options.model);
  const usual = extra + Math.max(CONTEXT_POSITIONS, maxFrames + PROMPT_POSITIONS);
  const contextPositions = Math.min(usual, options.contextPositions ?? usual);
  const engine = await open({ ...options, contextPositions, onProgress });
  clearProgress();
  const backends = Object.entries(engine.backends).map(([stage, backend]) => `${stage} ${backend}`);
  log.debug(
    `model ${engine.manifest.name}, weights ${weightsInWords(engine.manifest.weights)}; ${backends.join(", ")}`,
  );
  const { llama, onnxruntime } = engine.manifest.libraries;
  for (const warning of engine.warnings) log.warn(warning);
  const { cpus, threads } = engine.config;
  const cores = Object.keys(engine.backends).map(
    (stage) => `${stage} ${formatCores(cpus[stage as StageName]) || "any"}`,
  );
  log.debug(`cores: ${cores.join(", ")}; ${threads} threads for talker and predictor`);
  log.debug(`made with llama.cpp ${llama} and ONNX Runtime ${onnxruntime}`);
  tellOpening(engine);
  return engine;
}

/**
 * Writes a speech as it comes. `onCodes` gets every chunk with its codes. Nothing is kept here, because a
 * text may go on for hours.
 */
export async function pour(
  speech: Sounding & Partial<Pick<Speech, "sentences">>,
  { heard, sink, watch }: Outlet,
  onCodes: (chunk: AudioChunk) => void = () => {},
): Promise<void> {
  for await (const chunk of speech) {
    onCodes(chunk);
    if (!heard.hasBegun && chunk.samples.length > 0)
      heard.begin(performance.now() - speech.summary().firstAudioMs);
    const isPause = chunk.codes.length === 0;
    watch.take(chunk.sentence, chunk.samples.length / SAMPLE_RATE_HZ, performance.now(), isPause);
    if (chunk.samples.length > 0) await sink.write(chunk.samples);
    showProgress(
      `${heard.seconds.toFixed(1)} s of sound`,
      Math.min(chunk.sentence, speech.sentences?.length ?? 0),
      Math.max(1, speech.sentences?.length ?? 0),
    );
  }
  clearProgress();
}

/** @throws TtsError TEXT_EMPTY where a speech has no sound, or none that is heard was left of it */
export function assertSound({ audioSeconds, frames }: Pick<Summary, "audioSeconds" | "frames">): void {
  if (frames === 0)
    throw new TtsError("TEXT_EMPTY", "the model ended without a sound", "try another text or seed");
  if (audioSeconds === 0)
    throw new TtsError(
      "TEXT_EMPTY",
      `all ${frames} frames are silent, so that nothing is left of their sound`,
      "leave out {trimStart}, or try another text or seed",
    );
}

const heardWords = ({ firstHeardMs }: Summary) =>
  firstHeardMs === 0 ? "never" : `${firstHeardMs.toFixed(0)} ms`;

function repairsInWords({ repairs }: Summary): string {
  const again = repairs.filter(({ draw }) => draw > 0).length;
  const cut = repairs.length - again;
  return `${again > 0 ? `; ${again} said again` : ""}${cut > 0 ? `; ${cut} cut` : ""}`;
}

const round = (value: number) => Math.round(1000 * value) / 1000;

/** The figures of a speech, with the times of the sound that came out. */
function asHeard(summary: Summary, { firstMs, heardMs, seconds }: Heard): Summary {
  const { wallSeconds } = summary;
  return {
    ...summary,
    audioSeconds: round(seconds),
    rtf: seconds === 0 ? 0 : round(wallSeconds / seconds),
    firstAudioMs: round(firstMs),
    firstHeardMs: round(heardMs),
  };
}

/**
 * One stable line on stderr, or the same as one JSON object on stdout.
 * @param spokenSummary of the speech, whose sound filters may have changed since
 */
export async function report(
  spokenSummary: Summary,
  { json, path, play }: SoundOutput,
  heard: Heard,
): Promise<void> {
  const summary = asHeard(spokenSummary, heard);
  if (json) return printText(`${JSON.stringify(summary)}\n`);
  const { talker, predictor, vocoder } = summary.msPerFrame;
  const spoken = "talker" in summary.backends; // else decoded from codes
  const generation = spoken ? `talker ${talker.toFixed(1)}, predictor ${predictor.toFixed(1)}, ` : "";
  const file = path !== null && isStdout(path) ? "stdout" : path;
  const target = [file ?? [], play === null ? [] : "played"].flat().join(", ");
  if (spoken) {
    const { cachedRows, rows, savedMs } = summary.prompt;
    const { callsPerFrame, rightDrafts } = summary.speculation;
    const shares = rightDrafts.map((share) => `${(100 * share).toFixed(0)} %`).join(", then ");
    log.debug(
      `code predictor: ${callsPerFrame} calls per frame${shares && `, guesses ahead right: ${shares}`}`,
    );
    log.debug(
      `prompts of ${rows} positions, ${cachedRows} of them known from before, which saved ${savedMs.toFixed(0)} ms`,
    );
  }
  log.info(
    `${target}: ${summary.audioSeconds.toFixed(2)} s of sound in ${summary.wallSeconds.toFixed(2)} s (RTF ${summary.rtf.toFixed(3)}), ` +
      `first audio ${summary.firstAudioMs.toFixed(0)} ms, first heard ${heardWords(summary)}, ms per frame: ` +
      `${generation}vocoder ${vocoder.toFixed(1)}${spoken ? `; seed ${summary.seed}` : ""}${repairsInWords(summary)}`,
  );
}
