// From a checkpoint to a folder of graphs for an NPU: fixed shapes, calibration inputs of a real run, what the vendor's toolkit is to be
// given, and a manifest (src/formats/npu-folder.ts). The toolkit itself is the user's to run: it is not free to be shipped. The work runs in a worker.

import { closeSync, mkdirSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { CONTEXT_POSITIONS, type Config, LIMITS, threadsFor, type WeightType } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import type { Bundle } from "../../formats/bundle.ts";
import { type Checkpoint, openCheckpoint } from "../../formats/checkpoint.ts";
import { isNpuFolder, NPU_MANIFEST, type NpuManifest, type NpuPart, newNpuManifest } from "../../formats/npu-folder.ts";
import type { Graph } from "../../formats/onnx.ts";
import { safetensorsHeader, type TensorToWrite } from "../../formats/safetensors.ts";
import { asBytes, writeAll } from "../../io/bytes.ts";
import { runErrand } from "../../pipeline/errand.ts";
import type { ReplayJob } from "../../pipeline/messages.ts";
import type { SpokenText } from "../../stages/replay.ts";
import type { NpuTarget } from "../../npu-vendors.ts";
import type { Progress } from "../../types.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../types.ts";
import { buildFolder, buildInWorker } from "../building.ts";
import { predictorHeadsGraph } from "../onnx/predictor.ts";
import { vocoderFrontGraph, vocoderTailGraph } from "../onnx/vocoder.ts";
import { hashStep, runSteps, type Step } from "../steps.ts";
import { CalibrationSet, spread } from "./_calibration.ts";
import { PartChain } from "./_chain.ts";
import { recordPredictor, type Speech } from "./_recorded-predictor.ts";
import { npuReadme, toolkitFiles } from "./_toolkits.ts";
import { predictorFrameGraph, predictorStepGraph } from "./predictor.ts";
import { rangesOf, type VocoderRanges, vocoderNpuGraph, vocoderPeaksGraph } from "./vocoder.ts";

export interface NpuRequest {
  /** A checkpoint directory. */
  source: string;
  /** A bundle of it, which has spoken. */
  bundle: Bundle;
  target: string;
  npu: NpuTarget;
  /** Frames of one run of the vocoder. */
  frames: number;
  /** Where the vocoder's Snakes run. */
  snakes: "npu" | "cpu";
  /** What the model has said: everything is measured on it. The first makes the self-test. */
  speeches: SpokenText[];
  /** With its threads and cores the talker says them again. */
  config: Config;
}

interface NpuJob extends Omit<NpuRequest, "bundle" | "speeches" | "config"> {
  part: string;
  libraries: Pick<Config["libraries"], "onnxruntime">;
  /** Of the code predictor's heads. */
  weights: WeightType;
  name: string;
  speeches: Speech[];
}

/** Runs that are recorded for a toolkit; of the predictor a prime number, so that an even spread meets steps of every kind. */
const CALIBRATION_RUNS = { vocoder: 16, predictor: 37 } as const;
const SELF_TEST = { file: "self-test.safetensors", frames: 24, leastSnrDb: 20 } as const;
/** Guesses, in seconds of a model of full size: only their ratios matter. */
const COST = { graph: 4, frame: 0.3, predictorStep: 0.02 } as const;
const PART = {
  front: "vocoder-front",
  vocoder: "vocoder",
  tail: "vocoder-tail",
  step: "predictor-step",
  heads: "predictor-heads",
  frame: "predictor-frame",
} as const;
const THREADS = 2;
/** Inside the folder while it is made. */
const WORK = "work";

/**
 * Converts in a worker. A folder of this kind at `target` is replaced when the new one is whole.
 * @throws TtsError CHECKPOINT_INVALID, OUTPUT_FAILED, MODEL_UNSUITABLE when nothing was said, LIBRARY_*
 */
export function convertForNpu({ bundle, config, speeches, ...rest }: NpuRequest, onProgress: (progress: Progress) => void): Promise<void> {
  return buildFolder(rest.target, isNpuFolder, async (part) => {
    const hidden = rest.npu === "axcl" ? await replayTalker(bundle, config, speeches) : speeches.map(() => new Float32Array(0));
    const spoken = speeches.map(({ codes }, i) => ({ codes, hidden: hidden[i] }));
    const { name, weights } = bundle.manifest;
    const job: NpuJob = { ...rest, part, name, weights: weights.predictor, speeches: spoken, libraries: config.libraries };
    await runErrand("npu", job, { title: "the conversion for an NPU", onProgress });
  });
}

/** What the talker gave for each frame, f32 [frames, hidden] of each speech. */
function replayTalker(bundle: Bundle, config: Config, speeches: SpokenText[]): Promise<Float32Array[]> {
  const positions = speeches.map(({ codes, reference }) => {
    return ((reference?.codes?.length ?? 0) + codes.length) / CODES_PER_FRAME + (reference?.text.length ?? 0);
  });
  const contextPositions = Math.min(CONTEXT_POSITIONS + Math.max(...positions), LIMITS.contextPositions);
  const asSpoken = { ...config, ...threadsFor(bundle.manifest.shape.hidden, config), lanes: 1, contextPositions };
  return runErrand("replay", { bundle, config: asSpoken, speeches } satisfies ReplayJob, { title: "the replay of the talker" });
}

/** The worker's side: leaves the folder at its part path. */
export function runNpuConversion(job: NpuJob): void {
  buildInWorker(job, (onProgress) => new NpuConversion(job, onProgress).run());
}

class NpuConversion {
  private readonly vocoder: NpuPart[] = [];
  private readonly predictor: NpuManifest["predictor"] = { step: null, heads: null, frame: null };
  private readonly source: NpuManifest["source"] = {};
  private ranges: VocoderRanges = { scales: [], folds: {} };
  /** Whole runs of the vocoder in all speeches. */
  private readonly runs: number;

  constructor(
    private readonly job: NpuJob,
    private readonly onProgress: (progress: Progress) => void,
  ) {
    this.runs = job.speeches.reduce((sum, { codes }) => sum + Math.floor(codes.length / CODES_PER_FRAME / job.frames), 0);
  }

  run(): void {
    const { frames, name, npu, part, source } = this.job;
    if (this.wholeRuns(this.job.speeches[0]) === 0) {
      throw new TtsError("MODEL_UNSUITABLE", `${name} said nothing that could be measured`, "try tts with it first");
    }
    loadOnnxRuntime(this.job.libraries.onnxruntime);
    mkdirSync(join(part, WORK));
    const checkpoint = openCheckpoint(source);
    const perRun = COST.frame * frames * this.runs;
    const steps: Step[] = [
      { title: "ranges of the vocoder", cost: COST.graph + perRun, run: (advance) => this.measure(checkpoint, advance) },
      { title: "vocoder", cost: COST.graph, run: () => this.writeVocoder(checkpoint) },
      { title: "calibration of the vocoder", cost: perRun, run: (advance) => this.recordVocoder(advance) },
      ...(npu === "axcl" ? this.predictorSteps(checkpoint) : []),
      hashStep(source, this.source),
    ];
    runSteps(steps, checkpoint, this.onProgress);
    checkpoint.close();
    rmSync(join(part, WORK), { recursive: true });
    const { leastSnrDb, file } = SELF_TEST;
    const { predictor, vocoder } = this;
    const manifest = newNpuManifest({ target: npu, name, frames, vocoder, predictor, selfTest: { file, leastSnrDb }, source: this.source });
    for (const [path, text] of toolkitFiles(manifest))
      writeFileSync(join(part, path), text, { mode: path.endsWith(".sh") ? 0o755 : 0o644 });
    writeFileSync(join(part, "README.md"), npuReadme(manifest, this.job.snakes));
    writeFileSync(join(part, NPU_MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`);
  }

  private path(part: string): string {
    return join(this.job.part, `${part}.onnx`);
  }

  private wholeRuns({ codes }: Speech): number {
    return Math.floor(codes.length / CODES_PER_FRAME / this.job.frames);
  }

  /** Runs the chain over all speeches, each from the start. `after` is told the speech and the run in it. */
  private speak(chain: PartChain, before: (part: number, run: number) => void, after: (speech: number, run: number) => void): void {
    const { frames, speeches } = this.job;
    let done = 0;
    speeches.forEach((speech, number) => {
      chain.reset();
      for (let run = 0; run < this.wholeRuns(speech); run++, done++) {
        const from = run * frames;
        chain.ints("codes").set(speech.codes.subarray(from * CODES_PER_FRAME, (from + frames) * CODES_PER_FRAME));
        chain.ints("position")[0] = from;
        chain.run((part) => before(part, done));
        after(number, run);
      }
    });
  }

  /** The plain graph: it says how large numbers get, and what the self-test is to sound like. */
  private measure(checkpoint: Checkpoint, advance: (share: number) => void): void {
    const { frames, part, speeches } = this.job;
    vocoderFrontGraph(checkpoint, frames).savePortable(this.path(PART.front));
    const plain = join(part, WORK, "peaks.onnx");
    vocoderPeaksGraph(checkpoint, frames).savePortable(plain);
    const chain = new PartChain([this.path(PART.front), plain], THREADS);
    const named = chain.outputs.filter((name) => chain.floats(name).length === 1);
    const peaks: Record<string, number> = {};
    const testRuns = Math.min(this.wholeRuns(speeches[0]), Math.floor(SELF_TEST.frames / frames));
    const samples = new Float32Array(testRuns * frames * SAMPLES_PER_FRAME);
    this.speak(
      chain,
      (_, run) => advance(run / this.runs),
      (speech, run) => {
        for (const name of named) peaks[name] = Math.max(peaks[name] ?? 0, chain.floats(name)[0]);
        if (speech === 0 && run < testRuns) samples.set(chain.floats("samples"), run * frames * SAMPLES_PER_FRAME);
      },
    );
    chain.close();
    this.ranges = rangesOf(peaks, checkpoint.codec.upsampleRates.length);
    const codes = speeches[0].codes.slice(0, testRuns * frames * CODES_PER_FRAME);
    writeSelfTest(join(part, SELF_TEST.file), codes, samples);
  }

  private writeVocoder(checkpoint: Checkpoint): void {
    const { frames, npu, snakes } = this.job;
    const end = snakes === "npu" ? "samples" : "front";
    vocoderNpuGraph(checkpoint, { frames, target: npu, end, ranges: this.ranges }).savePortable(this.path(PART.vocoder));
    if (snakes === "cpu") vocoderTailGraph(checkpoint, frames, this.ranges.scales[0]).savePortable(this.path(PART.tail));
  }

  private recordVocoder(advance: (share: number) => void): void {
    const { npu, part, snakes } = this.job;
    const names = [PART.front, PART.vocoder, ...(snakes === "cpu" ? [PART.tail] : [])];
    const chain = new PartChain(
      names.map((name) => this.path(name)),
      THREADS,
    );
    names.forEach((name, i) => {
      this.vocoder.push(describe(chain, i, name, name === PART.vocoder ? "npu" : "cpu"));
    });
    const set = new CalibrationSet(part, npu, PART.vocoder, this.vocoder[1].inputs);
    const wanted = spread(this.runs, CALIBRATION_RUNS.vocoder);
    this.speak(
      chain,
      (index, run) => {
        if (index === 1 && wanted.has(run)) set.add((name) => chain.floats(name));
        advance(run / this.runs);
      },
      () => {},
    );
    set.close();
    chain.close();
  }

  private predictorSteps(checkpoint: Checkpoint): Step[] {
    const frames = this.job.speeches.reduce((sum, { codes }) => sum + codes.length / CODES_PER_FRAME, 0);
    const graph = (title: string, name: string, build: () => Graph): Step => ({
      title,
      cost: COST.graph,
      run: () => build().savePortable(this.path(name)),
    });
    return [
      graph("code predictor, a step", PART.step, () => predictorStepGraph(checkpoint, {})),
      graph("code predictor, its heads", PART.heads, () => predictorHeadsGraph(checkpoint, this.job.weights)),
      graph("code predictor, a frame", PART.frame, () => predictorFrameGraph(checkpoint, {})),
      {
        title: "calibration of the code predictor",
        cost: COST.predictorStep * frames * (CODES_PER_FRAME - 1),
        run: (advance) => this.recordPredictor(checkpoint, advance),
      },
    ];
  }

  private recordPredictor(checkpoint: Checkpoint, advance: (share: number) => void): void {
    const { npu, part, speeches } = this.job;
    const open = (name: string) => {
      const chain = new PartChain([this.path(name)], THREADS);
      const described = describe(chain, 0, name, "npu");
      return { chain, described, set: new CalibrationSet(part, npu, name, described.inputs) };
    };
    const [step, frame] = [open(PART.step), open(PART.frame)];
    const heads = new PartChain([this.path(PART.heads)], THREADS);
    Object.assign(this.predictor, { step: step.described, heads: describe(heads, 0, PART.heads, "cpu"), frame: frame.described });
    heads.close();
    recordPredictor(checkpoint, speeches, { step, frame }, CALIBRATION_RUNS.predictor, advance);
    for (const { chain, set } of [step, frame]) {
      chain.close();
      set.close();
    }
  }
}

function describe(chain: PartChain, index: number, name: string, runs: NpuPart["runs"]): NpuPart {
  return { file: `${name}.onnx`, runs, inputs: chain.infos(index, "inputs"), outputs: chain.infos(index, "outputs") };
}

function writeSelfTest(path: string, codes: Int32Array, samples: Float32Array): void {
  const tensor = (name: string, dtype: "I32" | "F32", shape: number[], bytes: Uint8Array): TensorToWrite => {
    return { name, dtype, shape, chunks: () => [bytes] };
  };
  const tensors = [
    tensor(
      "codes",
      "I32",
      [codes.length / CODES_PER_FRAME, CODES_PER_FRAME],
      new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength),
    ),
    tensor("samples", "F32", [samples.length], asBytes(samples)),
  ];
  const file = openSync(path, "wx");
  writeAll(file, safetensorsHeader(tensors));
  for (const { chunks } of tensors) for (const chunk of chunks()) writeAll(file, chunk);
  closeSync(file);
}
