// The steps that make the files of a bundle from a checkpoint, in order, and what each costs in time.

import { constants, copyFileSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { cpuCode, loadLlama, quantize } from "../../ffi/llama.ts";
import { loadOnnxRuntime } from "../../ffi/onnxruntime.ts";
import type { Config, WeightType, WeightTypes } from "../config.ts";
import { TtsError } from "../errors.ts";
import { BUNDLE_FILES, type Form, type FormedStage, isFormable, type Manifest } from "../formats/bundle.ts";
import {
  type Checkpoint,
  openCheckpoint,
  type TransformerShape,
  type Weights,
} from "../formats/checkpoint.ts";
import { isPacked, READING_FILES, sourceBytes } from "../formats/checkpoint-files.ts";
import { readVocabulary } from "../formats/checkpoint-tokenizer.ts";
import type { Graph } from "../formats/onnx.ts";
import { CODES_PER_FRAME, type Progress } from "../types.ts";
import { arrangeGguf } from "./arrange.ts";
import { type TensorType, writePredictorGguf, writeTalkerGguf } from "./gguf-files.ts";
import { makeManifest, weightCount } from "./manifest.ts";
import { codecEncoderGraph } from "./onnx/codec-encoder.ts";
import { predictorHeadsGraph, predictorLayersGraph } from "./onnx/predictor.ts";
import { speakerEncoderGraph } from "./onnx/speaker-encoder.ts";
import { talkerGraph } from "./onnx/talker.ts";
import { vocoderGraph } from "./onnx/vocoder.ts";
import { hashStep, runSteps, type Step, sumStep } from "./steps.ts";
import { writeTables } from "./tables.ts";
import { writeTokenizer } from "./tokenizer.ts";

export interface ConvertJob {
  source: string;
  /** Errors name it. The bundle is written at `part`, and the caller moves it here. */
  target: string;
  part: string;
  /** What the model is called; default: the checkpoint's folder. */
  name?: string;
  weights: WeightTypes;
  /**
   * Whether weights take the order of this processor's kernels: the bundle opens faster, but only here.
   * Default: false.
   */
  arranged?: boolean;
  /** The one form that a stage gets. Default: all that its weights can have. */
  forms?: Partial<Record<FormedStage, Form>>;
  libraries: Pick<Config["libraries"], "llama" | "onnxruntime">;
}

/**
 * Seconds on two cores per 1e9 weights written, put into a graph or quantised, and per 1e12 multiplications
 * of the fold. They serve to guess the time left, so only their ratios matter.
 */
const COST = {
  write: 10,
  graph: 15,
  fold: 16,
  arrange: 2,
  quantise: { f32: 0, f16: 0, bf16: 2, q8_0: 3, q4_0: 2, q4_k_m: 31, iq4_nl: 94 } satisfies Record<
    WeightType,
    number
  >,
} as const;

/** One conversion on this thread. `folder` exists and is empty. */
export class Conversion {
  private readonly arranged: string[] = [];

  constructor(
    private readonly job: ConvertJob,
    private readonly folder: string,
    private readonly onProgress: (progress: Progress) => void,
  ) {}

  run(): void {
    const { libraries, source } = this.job;
    const versions = {
      llama: loadLlama(libraries.llama).version,
      onnxruntime: loadOnnxRuntime(libraries.onnxruntime).version,
    };
    const checkpoint = openCheckpoint(source);
    const { controlTokens, merges } = readVocabulary(checkpoint);
    writeTokenizer(join(this.folder, BUNDLE_FILES.tokenizer), merges);
    if (checkpoint.abilities.readsIpa)
      for (const name of READING_FILES) copyFileSync(join(source, name), join(this.folder, name));
    const [hashes, sums]: [Manifest["source"], Manifest["files"]] = [{}, {}];
    const steps = [
      ...this.ggufSteps("talker", checkpoint.talker, (path, type, onTensor) =>
        writeTalkerGguf(path, checkpoint, type, onTensor),
      ),
      ...this.ggufSteps("predictor", checkpoint.predictor, (path, type, onTensor) =>
        writePredictorGguf(path, checkpoint, type, onTensor),
      ),
      ...this.graphSteps(checkpoint),
      this.tablesStep(checkpoint),
      hashStep(source, hashes),
      sumStep(this.folder, sums, SUMMED_SHARE * sourceBytes(source)),
    ];
    runSteps(steps, checkpoint, this.onProgress);
    const manifest = makeManifest(checkpoint, {
      name: this.job.name ?? checkpoint.name,
      weights: this.job.weights,
      controlTokens,
      arranged: this.arranged.length === 0 ? null : { code: cpuCode(), files: this.arranged },
      files: sums,
      source: hashes,
      libraries: versions,
    });
    writeFileSync(join(this.folder, BUNDLE_FILES.manifest), `${JSON.stringify(manifest, null, 1)}\n`);
    checkpoint.close();
  }

  private makes(stage: FormedStage, form: Form): boolean {
    const { forms = {}, weights } = this.job;
    return (forms[stage] ?? form) === form && isFormable(stage, form, weights);
  }

  /** f32 and f16 are written directly; other types go through a bf16 file and llama.cpp's quantiser. */
  private ggufSteps(
    stage: keyof WeightTypes,
    shape: TransformerShape,
    write: (path: string, type: TensorType, onTensor: () => void) => void,
  ): Step[] {
    if (!this.makes(stage, "llama")) return [];
    const type = this.job.weights[stage];
    const path = join(this.folder, stage === "talker" ? BUNDLE_FILES.talker : BUNDLE_FILES.predictorGguf);
    const billions = weightCount(shape) / 1e9;
    const writing = (target: string, matrixType: TensorType): Step => ({
      title: stage,
      cost: COST.write * billions,
      run: (advance) => {
        let layers = 0;
        write(target, matrixType, () => advance(Math.min(1, ++layers / (TENSORS_PER_LAYER * shape.layers))));
      },
    });
    if (type === "f32" || type === "f16") return [writing(path, type)];
    const intermediate = `${path}.tmp`;
    const quantising: Step = {
      title: `${stage} to ${type}`,
      cost: COST.quantise[type] * billions,
      run: () => {
        this.quantize(intermediate, path, type);
        rmSync(intermediate);
      },
    };
    const arranging: Step = {
      title: `${stage} for this processor`,
      cost: COST.arrange * billions,
      run: () => {
        if (arrangeGguf(path)) this.arranged.push(basename(path));
      },
    };
    return [writing(intermediate, "bf16"), quantising, ...(this.job.arranged ? [arranging] : [])];
  }

  /** libllama does not say why it failed: a disk that is nearly full is reason enough. */
  private quantize(from: string, to: string, type: WeightType): void {
    try {
      quantize(from, to, type, availableParallelism());
    } catch (cause) {
      const { bavail, bsize } = statfsSync(this.folder);
      if (bavail * bsize > statSync(from).size) throw cause;
      const what = `cannot write ${this.job.target}: no space left on device`;
      throw new TtsError("OUTPUT_FAILED", what, "free disk space", { cause });
    }
  }

  private graphSteps(checkpoint: Checkpoint): Step[] {
    const { codecWeights, codes, encoders, predictor, weights } = checkpoint;
    const type = this.job.weights.predictor;
    const headCount = (CODES_PER_FRAME - 1) * codes * predictor.hidden;
    const step = (
      title: string,
      name: string,
      sharing: Pick<Weights, "files">,
      billions: number,
      build: (shared: Record<string, string>) => Graph,
    ): Step => {
      return { title, cost: COST.graph * billions, run: () => this.saveGraph(name, sharing.files, build) };
    };
    const steps = [
      ...(this.makes("talker", "ort")
        ? [
            step("talker", BUNDLE_FILES.talkerOnnx, weights, weightCount(checkpoint.talker) / 1e9, (shared) =>
              talkerGraph(checkpoint, this.job.weights.talker, shared),
            ),
          ]
        : []),
      ...(this.makes("predictor", "ort")
        ? [
            step(
              "code predictor",
              BUNDLE_FILES.predictorOnnx,
              weights,
              weightCount(predictor) / 1e9,
              (shared) => predictorLayersGraph(checkpoint, type, shared),
            ),
            step("code predictor's heads", BUNDLE_FILES.predictorHeads, weights, headCount / 1e9, () =>
              predictorHeadsGraph(checkpoint, type, "rows"),
            ),
          ]
        : []),
      // It lays out most weights anew: a clone would add more bytes to a copied bundle than it saves.
      step("vocoder", BUNDLE_FILES.vocoder, { files: [] }, CODEC_BILLIONS, () => vocoderGraph(checkpoint)),
    ];
    if (encoders === null) return steps;
    // only Base models can clone; others may lack these weights
    const { codec, speaker } = encoders;
    return [
      ...steps,
      step("speaker encoder", BUNDLE_FILES.speakerEncoder, weights, CODEC_BILLIONS, (shared) =>
        speakerEncoderGraph(speaker, weights, shared),
      ),
      step("codec encoder", BUNDLE_FILES.codecEncoder, codecWeights, CODEC_BILLIONS, (shared) =>
        codecEncoderGraph(codec, codecWeights, shared),
      ),
    ];
  }

  private tablesStep(checkpoint: Checkpoint): Step {
    const { talker, textHidden, textVocabulary } = checkpoint;
    const path = join(this.folder, BUNDLE_FILES.tables);
    return {
      title: "tables",
      cost: (COST.fold * textVocabulary * textHidden * (textHidden + talker.hidden)) / 1e12,
      run: (advance) => writeTables(path, checkpoint, this.job.weights, availableParallelism(), advance),
    };
  }

  /**
   * Shares F32 weights of the checkpoint through clones of its files. Where the file system has none, the
   * weights are copied into the graph's own data file. A link would let damage reach the checkpoint.
   */
  private saveGraph(
    name: string,
    files: readonly string[],
    build: (shared: Record<string, string>) => Graph,
  ): void {
    const plain = files.filter((file) => !isPacked(file));
    const clones = Object.fromEntries(
      plain.map((file, i) => [file, `${name.replace(/\.onnx$/, "")}${i === 0 ? "" : `-${i}`}.safetensors`]),
    );
    const cloned = Object.fromEntries(
      Object.entries(clones).filter(([file, clone]) => tryClone(file, join(this.folder, clone))),
    );
    const graph = build(cloned);
    for (const [file, clone] of Object.entries(cloned))
      if (!graph.usedShared.has(file)) rmSync(join(this.folder, clone));
    graph.save(join(this.folder, name));
  }
}

/** Size of a quantised bundle as a share of its checkpoint: a guess. */
const SUMMED_SHARE = 0.5;
/** Tensors per layer in a GGUF file. */
const TENSORS_PER_LAYER = 11;
/** Billions of weights in the codec's encoder, and in its decoder, at full size. */
const CODEC_BILLIONS = 0.1;

/** Whether it could clone: another file system, or one that cannot share blocks, copies the bytes. */
function tryClone(from: string, to: string): boolean {
  try {
    copyFileSync(from, to, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    rmSync(to, { force: true });
    return false;
  }
}
