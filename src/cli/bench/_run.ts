// Collects what tts bench measures: opens an engine per configuration, warms it up, and times rounds of
// speech. The arithmetic is in _figures.ts.

import {
  type ConfigFlags,
  loadConfig,
  type PredictorChoice,
  type SpeculateChoice,
  type TalkerChoice,
  threadsFor,
  type WeightType,
} from "../../config.ts";
import type { Engine, OpeningStep, Slice, StageName, Summary } from "../../engine.ts";
import { BUNDLE_FILES, type Bundle } from "../../formats/bundle.ts";
import { type FrameCosts, frameCosts } from "../../machine/frame-cost.ts";
import { availableBytes, monotonicMs } from "../../machine/load.ts";
import {
  type Memory,
  mappedFiles,
  memoryNow,
  type ThreadUse,
  threadTimes,
  threadUse,
} from "../../machine/process.ts";
import { sourceOf } from "../../models/cache.ts";
import { resolveModel } from "../../models/resolve.ts";
import { CODES_PER_FRAME, type Progress } from "../../types.ts";
import { openEngine } from "../shared/engine.ts";
import { clearProgress, log, showConversion, showProgress } from "../shared/log.ts";

const TEXT = "The kettle is ready. The time is seven forty five.";
const SEED = 1;
/**
 * Engines stay open side by side if their files fill no more than this share of the free memory.
 */
const MEMORY_SHARE = 0.6;

/** The settings that are compared. */
export interface Setting {
  lanes: number;
  threads: number;
  promptThreads: number;
  talker: TalkerChoice;
  predictor: PredictorChoice;
  speculate: SpeculateChoice;
  /**
   * Codes per call that wrong guesses are taken as right for; 0: they are not. The same in all
   * configurations.
   */
  pretendedCodes: number;
  weights: WeightType | undefined;
  predictorWeights: WeightType | undefined;
  /** The same in all configurations. */
  machine: BenchedMachine;
}

/** What runs the vocoder, and the cores of all stages. */
export type BenchedMachine = Pick<ConfigFlags, "vocoder" | "npu" | "cpus">;

/** The number of threads may depend on the model. */
export type WantedSetting = Omit<Setting, "threads" | "promptThreads"> & { threads: number | undefined };

/** A setting with the model that it needs. */
export interface Configuration {
  setting: Setting;
  bundle: Bundle;
}

/** How long the measurement is. */
export interface Length {
  /** The most frames of one sentence. */
  frames: number;
  /** Rounds after the one that warms up. */
  repeat: number;
}

/** One sentence of a round; times are those of the common clock. */
export interface Spoken {
  submittedMs: number;
  firstMs: number;
  /** Milliseconds until the first sample that a listener hears. */
  heardMs: number;
  endedMs: number;
  frames: number;
  speculation: Summary["speculation"];
}

/** All lanes speaking at the same time, once. */
export interface Round {
  startMs: number;
  endMs: number;
  spoken: Spoken[];
  slices: Record<StageName, Slice[]>;
  threads: ThreadUse[];
}

/** One configuration and everything that was measured of it. */
export interface Subject {
  setting: Setting;
  bundle: Bundle;
  backends: Readonly<Record<string, string>>;
  costs: FrameCosts;
  loadMs: number;
  opening: readonly OpeningStep[];
  /**
   * Peak while speaking, of the program and this engine. Other open engines are left out as far as they can
   * be told apart.
   */
  memory: Memory;
  mappedBytes: number;
  rounds: Round[];
}

interface OpenSubject {
  subject: Subject;
  engine: Engine;
  /** Anonymous memory that the engine holds while it is silent, in bytes. */
  addedAnon: number;
}

const STAGES = ["talker", "predictor", "vocoder"] as const satisfies StageName[];

/**
 * Converts checkpoints that are not converted yet, so that this does not count as loading.
 * @throws TtsError as resolveModel does
 */
export async function prepareModels(
  model: string | undefined,
  settings: readonly WantedSetting[],
): Promise<Configuration[]> {
  let announced = false;
  const onProgress = (progress: Progress) => {
    if (!announced) log.info(`preparing ${model ?? "the starter voice"}`);
    announced = true;
    showConversion(progress);
  };
  const configurations: Configuration[] = [];
  for (const setting of settings) {
    const { machine, predictor, predictorWeights, talker, weights } = setting;
    const config = loadConfig(machine);
    const bundle = await resolveModel({
      config: { ...config, talker, predictor },
      model,
      weights,
      predictorWeights,
      onProgress,
    });
    const usual = threadsFor(bundle.manifest.shape.hidden, config);
    const { threads, promptThreads } =
      setting.threads === undefined ? usual : { threads: setting.threads, promptThreads: setting.threads };
    configurations.push({ setting: { ...setting, threads, promptThreads }, bundle });
  }
  clearProgress();
  return configurations;
}

/**
 * Measures all configurations in turn, round by round, so that a machine that becomes slower affects all of
 * them alike. If memory is short, it measures one after the other.
 */
export async function measure(configurations: readonly Configuration[], length: Length): Promise<Subject[]> {
  const bytes = configurations.reduce((sum, { bundle }) => sum + modelBytes(bundle), 0);
  const sideBySide = bytes <= MEMORY_SHARE * availableBytes();
  if (!sideBySide && configurations.length > 1)
    log.info("all models at once do not fit into memory: measuring one configuration after the other");
  const steps = configurations.length * (length.repeat + 1);
  let step = 0;
  const onRound = () => showProgress("measuring", step++, steps);
  const groups = sideBySide ? [configurations] : configurations.map((configuration) => [configuration]);
  const subjects: Subject[] = [];
  for (const group of groups) subjects.push(...(await measureTogether(group, length, onRound)));
  clearProgress();
  return subjects;
}

async function measureTogether(
  configurations: readonly Configuration[],
  length: Length,
  onRound: () => void,
): Promise<Subject[]> {
  const open: OpenSubject[] = [];
  try {
    for (const configuration of configurations) {
      onRound();
      open.push(await openSubject(configuration, length.frames, open));
    }
    for (let round = 0; round < length.repeat; round++) {
      for (const { subject, engine } of open) {
        onRound();
        subject.rounds.push(await speakRound(engine, subject.setting.lanes, length.frames));
      }
    }
  } finally {
    await Promise.all(open.map(({ engine }) => engine.close()));
  }
  return open.map(({ subject }) => subject);
}

/** Upper bound: bytes of the files that an engine may map or read whole. */
function modelBytes({ manifest: { files } }: Bundle): number {
  const read = Object.keys(files).filter(
    (name) => name !== BUNDLE_FILES.tables && name !== BUNDLE_FILES.tokenizer,
  );
  return read.reduce((sum, name) => sum + files[name].bytes, 0);
}

/** The warm-up round is the first speech of the engine; it also shows how much memory is needed. */
async function openSubject(
  { setting, bundle }: Configuration,
  frames: number,
  others: readonly OpenSubject[],
): Promise<OpenSubject> {
  const { lanes, machine, pretendedCodes, predictor, promptThreads, speculate, talker, threads } = setting;
  const folders = [bundle.directory, ...others.map(({ subject }) => subject.bundle.directory)];
  const before = { ...memoryNow(), ...mappedFiles(folders) };
  const startMs = monotonicMs();
  const generation = { lanes, threads, promptThreads, talker, predictor, pretendedCodes, speculate };
  const flags = { ...machine, ...generation, prefixCache: "off" } as const;
  const engine = await openEngine({ model: bundle.directory, ...flags }, frames);
  const loadMs = monotonicMs() - startMs;
  try {
    let peak = memoryNow();
    await speakRound(engine, lanes, frames, () => {
      const now = memoryNow();
      if (now.rss > peak.rss) peak = now;
    });
    // What other engines hold is subtracted; the program and its libraries still count.
    const anon = peak.anon - others.reduce((sum, { addedAnon }) => sum + addedAnon, 0);
    const file = peak.file - before.resident;
    const subject: Subject = {
      setting,
      bundle,
      backends: engine.backends,
      costs: frameCosts(bundle, engine.backends, sourceOf(bundle.directory)),
      loadMs,
      opening: engine.opening,
      memory: { rss: anon + file, anon, file },
      mappedBytes: mappedFiles(folders).mapped - before.mapped,
      rounds: [],
    };
    return { subject, engine, addedAnon: Math.max(0, memoryNow().anon - before.anon) };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** Speaks the same sentence in every lane, with the model's own sampling. */
async function speakRound(engine: Engine, lanes: number, frames: number, onChunk = () => {}): Promise<Round> {
  const { tracks } = engine.timeline;
  const written = STAGES.map((stage) => tracks[stage].written);
  const threads = threadTimes();
  const startMs = monotonicMs();
  const spoken = await Promise.all(Array.from({ length: lanes }, () => speakOnce(engine, frames, onChunk)));
  const endMs = monotonicMs();
  const slices = Object.fromEntries(
    STAGES.map((stage, i) => [stage, tracks[stage].since(written[i])]),
  ) as Round["slices"];
  return { startMs, endMs, spoken, slices, threads: threadUse(threads, threadTimes()) };
}

async function speakOnce(engine: Engine, maxFrames: number, onChunk: () => void): Promise<Spoken> {
  const submittedMs = monotonicMs();
  let [firstMs, frames] = [0, 0];
  const speech = engine.speak(TEXT, { seed: SEED, maxFrames, watch: false });
  for await (const { codes } of speech) {
    if (frames === 0) firstMs = monotonicMs();
    frames += codes.length / CODES_PER_FRAME;
    onChunk();
  }
  const { firstHeardMs: heardMs, speculation } = speech.summary();
  return { submittedMs, firstMs, heardMs, endedMs: monotonicMs(), frames, speculation };
}
