// How fast this processor multiplies by weights, measured on short matrix products as talker, code predictor
// and vocoder compute them, with their own libraries. Runs in a process of its own (see worker.ts); judges
// nothing.

import { type Matrix, MatrixProducts, quantizeRows, ThreadPool } from "../../ffi/ggml.ts";
import { monotonicMs, pinThread } from "../../ffi/libc.ts";
import { loadLlama } from "../../ffi/llama.ts";
import { loadOnnxRuntime, OrtSession, OrtTensor, PreparedRun } from "../../ffi/onnxruntime.ts";
import { runChild } from "../child.ts";
import type { Config } from "../config.ts";
import { Graph } from "../formats/onnx.ts";
import type { PlannedType } from "./frame-cost.ts";
import { availableBytes } from "./load.ts";

/** A matrix as large as those of a talker, and enough of them that no cache holds them all. */
const [ROWS, WIDTH] = [4_096, 1_024];
const WEIGHT_BYTES = 96 * 2 ** 20;
const MEMORY_SHARE = 1 / 16;
/** Rows of a prompt that are multiplied at once. */
const PROMPT_ROWS = 16;
const PROMPT_MATRICES = 4;
/** So small that only the call takes time. */
const SMALL = 64;
const SMALL_RUNS = 200;
/** A product like the vocoder's: moments, and channels in and out. */
const [MOMENTS, CHANNELS] = [256, 768];
/** The best pass counts: others have been disturbed. */
const LEAST_PASSES = 3;
const LEAST_MS = 150;
const TIMEOUT_MS = 60_000;

export interface SpeedJob {
  libraries: Pick<Config["libraries"], "llama" | "onnxruntime">;
  threads: number;
  promptThreads: number;
  cpus: Config["cpus"];
}

export interface Speed {
  /**
   * Bytes of weights per second that a step of one row reads with the step's threads; with one thread in f32,
   * which only small models have.
   */
  weights: Record<PlannedType, number>;
  /** Multiplications per second of a prompt if all its threads ran undisturbed. */
  prompt: number;
  /** Multiplications per second of the vocoder's one thread. */
  vocoder: number;
  /** Time that one thread needs for a call with the smallest product. */
  callMs: number;
}

/** @throws TtsError LIBRARY_FAILED when the measuring process dies, and the errors of that process */
export const measureSpeed = (job: SpeedJob): Promise<Speed> => runChild("speed", job, TIMEOUT_MS);

/** The child's side. */
export function runSpeed({ cpus, libraries, promptThreads, threads }: SpeedJob): Speed {
  loadLlama(libraries.llama);
  loadOnnxRuntime(libraries.onnxruntime);
  const noise = Float32Array.from({ length: ROWS * WIDTH }, (_, i) => Math.sin(i * i));
  const vocoder = onCores(cpus.vocoder, multiply);
  return onCores(cpus.talker, () => {
    const pool = new ThreadPool(threads, cpus.talker);
    const weights = {
      f32: readWeights("f32", noise, null),
      q8_0: readWeights("q8_0", noise, pool),
      q4_0: readWeights("q4_0", noise, pool),
    };
    const callMs = smallCall();
    pool.close();
    return { weights, prompt: promptThreads * readPrompt(noise), vocoder, callMs };
  });
}

/** No cores named means any core. A pinned process stays pinned until the next call. */
function onCores<T>(cores: readonly number[], measure: () => T): T {
  if (cores.length > 0) pinThread(cores);
  return measure();
}

const matrixOf = (type: PlannedType, values: Float32Array): Matrix => {
  return { type, bytes: type === "f32" ? new Uint8Array(values.buffer) : quantizeRows(type, values, WIDTH) };
};

function readWeights(type: PlannedType, noise: Float32Array, pool: ThreadPool | null): number {
  const matrix = matrixOf(type, noise);
  const count = Math.max(
    1,
    Math.floor(Math.min(WEIGHT_BYTES, availableBytes() * MEMORY_SHARE) / matrix.bytes.length),
  );
  const products = new MatrixProducts(Array<Matrix>(count).fill(matrix), {
    rows: ROWS,
    width: WIDTH,
    lanes: 1,
    pool,
  });
  products.input.set(noise.subarray(0, WIDTH));
  const ms = bestMs(() => {
    for (let i = 0; i < count; i++) products.run(i, 1);
  });
  products.close();
  return (1000 * count * matrix.bytes.length) / ms;
}

/** Uses one thread: several would wait for each other wherever something else runs. */
function readPrompt(noise: Float32Array): number {
  const matrices = Array<Matrix>(PROMPT_MATRICES).fill(matrixOf("q4_0", noise));
  const products = new MatrixProducts(matrices, { rows: ROWS, width: WIDTH, lanes: PROMPT_ROWS, pool: null });
  products.input.set(noise.subarray(0, PROMPT_ROWS * WIDTH));
  const ms = bestMs(() => {
    for (let i = 0; i < PROMPT_MATRICES; i++) products.run(i, PROMPT_ROWS);
  });
  products.close();
  return (1000 * PROMPT_MATRICES * PROMPT_ROWS * ROWS * WIDTH) / ms;
}

function smallCall(): number {
  const matrix: Matrix = { type: "f32", bytes: new Uint8Array(4 * SMALL * SMALL) };
  const products = new MatrixProducts([matrix], { rows: SMALL, width: SMALL, lanes: 1, pool: null });
  const ms = bestMs(() => {
    for (let i = 0; i < SMALL_RUNS; i++) products.run(0, 1);
  });
  products.close();
  return ms / SMALL_RUNS;
}

/** Multiplications per second of one thread in f32. */
function multiply(): number {
  const graph = new Graph({ name: "speed" });
  const [x, weight] = [
    graph.input("x", "f32", [MOMENTS, CHANNELS]),
    graph.input("weight", "f32", [CHANNELS, CHANNELS]),
  ];
  graph.output("y", graph.op("MatMul", [x, weight]), "f32", [MOMENTS, CHANNELS]);
  const session = OrtSession.fromBytes("a product to measure", graph.encode(), { threads: 1 });
  const tensor = (rows: number) =>
    new OrtTensor(new Float32Array(new ArrayBuffer(4 * rows * CHANNELS)).fill(0.5), [rows, CHANNELS]);
  const run = new PreparedRun(
    session,
    { x: tensor(MOMENTS), weight: tensor(CHANNELS) },
    { y: tensor(MOMENTS) },
  );
  return (1000 * MOMENTS * CHANNELS * CHANNELS) / bestMs(() => run.run());
}

function bestMs(pass: () => void): number {
  pass(); // brings memory and threads into place
  const startMs = monotonicMs();
  let best = Number.MAX_VALUE;
  for (let passes = 0; passes < LEAST_PASSES || monotonicMs() - startMs < LEAST_MS; passes++) {
    const from = monotonicMs();
    pass();
    best = Math.min(best, monotonicMs() - from);
  }
  return best;
}
