// The vocoder's parts of a folder for an NPU: the measured ranges of its numbers, its graphs, calibration
// inputs and the self-test.

import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import type { NpuPart } from "../../formats/npu-folder.ts";
import { safetensorsHeader, type TensorToWrite } from "../../formats/safetensors.ts";
import { asBytes, writeAll } from "../../io/bytes.ts";
import type { NpuTarget, RknnChip } from "../../npu-vendors.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../types.ts";
import { vocoderFrontGraph, vocoderTailGraph } from "../onnx/vocoder.ts";
import type { Step } from "../steps.ts";
import { CalibrationSet, spread } from "./_calibration.ts";
import { PartChain } from "./_chain.ts";
import { describePart, GRAPH_COST, graphPath, THREADS } from "./_parts.ts";
import type { Speech } from "./_recorded-predictor.ts";
import { TOOLKITS } from "./_toolkits.ts";
import { rangesOf, type VocoderRanges, vocoderNpuGraph, vocoderPeaksGraph } from "./vocoder.ts";

/** Runs that are recorded for a toolkit. */
const CALIBRATION_RUNS = 16;
export const SELF_TEST = { file: "self-test.safetensors", frames: 24, leastSnrDb: 20 } as const;
/** Guessed seconds per frame, as {@link GRAPH_COST} is per graph. */
const FRAME_COST = 0.3;
const PART = { front: "vocoder-front", vocoder: "vocoder", tail: "vocoder-tail" } as const;

interface VocoderJob {
  npu: NpuTarget;
  chip: RknnChip | null;
  /** The folder while it is made. `work` is a folder in it for files that do not stay. */
  part: string;
  work: string;
  frames: number;
  snakes: "npu" | "cpu";
  speeches: readonly Speech[];
}

export class VocoderConversion {
  /** In the order in which they run; complete after the steps. */
  readonly parts: NpuPart[] = [];
  private ranges: VocoderRanges = { scales: [], folds: {} };
  /** Whole runs of the vocoder in all speeches. */
  private readonly runs: number;

  constructor(private readonly job: VocoderJob) {
    this.runs = job.speeches.reduce((sum, speech) => sum + this.wholeRuns(speech), 0);
  }

  /** Whether there is a run to measure: the first speech makes the self-test. */
  get hasRuns(): boolean {
    return this.wholeRuns(this.job.speeches[0]) > 0;
  }

  steps(checkpoint: Checkpoint): Step[] {
    const perRun = FRAME_COST * this.job.frames * this.runs;
    return [
      {
        title: "ranges of the vocoder",
        cost: GRAPH_COST + perRun,
        run: (advance) => this.measure(checkpoint, advance),
      },
      { title: "vocoder", cost: GRAPH_COST, run: () => this.writeGraphs(checkpoint) },
      {
        title: "inputs and outputs of the vocoder",
        cost: TOOLKITS[this.job.npu].calibrates ? perRun : 0,
        run: (advance) => this.describe(advance),
      },
    ];
  }

  private path(part: string): string {
    return graphPath(this.job.part, part);
  }

  private wholeRuns({ codes }: Speech): number {
    return Math.floor(codes.length / CODES_PER_FRAME / this.job.frames);
  }

  /**
   * Runs the chain over all speeches, each from a zero state. `before` is called with the part and the run
   * counted over all speeches, `after` with the speech and the run in it.
   */
  private speak(
    chain: PartChain,
    before: (part: number, run: number) => void,
    after: (speech: number, run: number) => void,
  ): void {
    const { frames, speeches } = this.job;
    let done = 0;
    speeches.forEach((speech, number) => {
      chain.reset();
      for (let run = 0; run < this.wholeRuns(speech); run++, done++) {
        const from = run * frames;
        chain
          .ints("codes")
          .set(speech.codes.subarray(from * CODES_PER_FRAME, (from + frames) * CODES_PER_FRAME));
        chain.ints("position")[0] = from;
        chain.run((part) => before(part, done));
        after(number, run);
      }
    });
  }

  /** Runs the plain graph to learn how large the numbers get and what the self-test should sound like. */
  private measure(checkpoint: Checkpoint, advance: (share: number) => void): void {
    const { frames, npu, part, speeches, work } = this.job;
    vocoderFrontGraph(checkpoint, frames, TOOLKITS[npu].style).savePortable(this.path(PART.front));
    const plain = join(work, "peaks.onnx");
    vocoderPeaksGraph(checkpoint, frames, npu).savePortable(plain);
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
        if (speech === 0 && run < testRuns)
          samples.set(chain.floats("samples"), run * frames * SAMPLES_PER_FRAME);
      },
    );
    chain.close();
    this.ranges = rangesOf(peaks, checkpoint.codec.upsampleRates.length);
    const codes = speeches[0].codes.slice(0, testRuns * frames * CODES_PER_FRAME);
    writeSelfTest(join(part, SELF_TEST.file), codes, samples);
  }

  private writeGraphs(checkpoint: Checkpoint): void {
    const { chip, frames, npu, snakes } = this.job;
    const end = snakes === "npu" ? "samples" : "front";
    vocoderNpuGraph(checkpoint, { frames, target: npu, chip, end, ranges: this.ranges }).savePortable(
      this.path(PART.vocoder),
    );
    if (snakes === "cpu")
      vocoderTailGraph(checkpoint, frames, this.ranges.scales[0], TOOLKITS[npu].style).savePortable(
        this.path(PART.tail),
      );
  }

  /** Describes the parts, and records their inputs where the toolkit calibrates. */
  private describe(advance: (share: number) => void): void {
    const { npu, snakes } = this.job;
    const names = [PART.front, PART.vocoder, ...(snakes === "cpu" ? [PART.tail] : [])];
    const chain = new PartChain(
      names.map((name) => this.path(name)),
      THREADS,
    );
    names.forEach((name, i) => {
      this.parts.push(describePart(chain, i, name, name === PART.vocoder ? "npu" : "cpu"));
    });
    if (TOOLKITS[npu].calibrates) this.record(chain, advance);
    chain.close();
  }

  private record(chain: PartChain, advance: (share: number) => void): void {
    const set = new CalibrationSet(this.job.part, PART.vocoder, this.parts[1].inputs);
    const wanted = spread(this.runs, CALIBRATION_RUNS);
    this.speak(
      chain,
      (index, run) => {
        if (index === 1 && wanted.has(run)) set.add((name) => chain.floats(name));
        advance(run / this.runs);
      },
      () => {},
    );
    set.close();
  }
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
