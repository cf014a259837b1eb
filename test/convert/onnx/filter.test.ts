// Filters as matrix products equal the plain sum over taps, whichever way they are computed and however
// frames are cut into calls. ONNX Runtime reads the weights of large ones where they lie in the file.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadOnnxRuntime, OrtSession, OrtTensor, PreparedRun } from "../../../ffi/onnxruntime.ts";
import { type Filter, filter } from "../../../src/convert/onnx/_filter.ts";
import { Graph } from "../../../src/formats/onnx.ts";
import { memoryNow } from "../../../src/machine/process.ts";

/** Largest error, as a share of the largest result. */
const MAX_PLAIN_ERROR = 1e-6;
const MAX_BLOCK_ERROR = 1e-5;
const MAX_CUT_ERROR = 1e-6;
const FRAMES = 3;

const folder = mkdtempSync(join(tmpdir(), "filter-"));
const sessions: OrtSession[] = [];
afterAll(() => {
  for (const session of sessions) session.close();
  rmSync(folder, { recursive: true, force: true });
});

function noise(length: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state / 2 ** 31;
  });
}

type Shape = Pick<Filter, "taps" | "dilation" | "inputs" | "outputs">;

function makeFilter({ taps, dilation, inputs, outputs }: Shape): Filter {
  const matrices = noise(taps * inputs * outputs, 1);
  const weights = () => (tap: number, input: number, output: number) =>
    matrices[(tap * inputs + input) * outputs + output];
  return { taps, dilation, inputs, outputs, weights, bias: noise(outputs, 2) };
}

/** The plain sum in double precision, [rows, outputs]. */
function plainSum(
  padded: Float32Array,
  rows: number,
  { taps, dilation, inputs, outputs, weights, bias }: Filter,
): Float64Array {
  const weight = weights();
  return Float64Array.from({ length: rows * outputs }, (_, at) => {
    const [row, output] = [Math.floor(at / outputs), at % outputs];
    let sum = bias[output];
    for (let tap = 0; tap < taps; tap++) {
      for (let input = 0; input < inputs; input++) {
        sum += padded[(row + tap * dilation) * inputs + input] * weight(tap, input, output);
      }
    }
    return sum;
  });
}

/** Writes the graph of one filter. */
function saveFilter(what: Filter, perFrame: number): string {
  const g = new Graph({ name: "filter" });
  const rows = {
    padded: g.input("padded", "f32", ["rows", what.inputs]),
    perFrame,
    frames: g.input("frames", "i64", ["frames", 1]),
  };
  g.output("y", filter(g, rows, what), "f32", ["results", what.outputs]);
  const path = join(folder, `${Object.values(what).slice(0, 4).join("-")}-${perFrame}.onnx`);
  g.save(path);
  return path;
}

function openSession(path: string): OrtSession {
  loadOnnxRuntime();
  const session = OrtSession.open(path, { threads: 1 });
  sessions.push(session);
  return session;
}

/** Opens a session for one filter and returns a function that runs it over any number of frames. */
function openFilter(what: Filter, perFrame: number): (padded: Float32Array, frames: number) => Float32Array {
  const session = openSession(saveFilter(what, perFrame));
  return (padded, frames) => {
    const y = new Float32Array(frames * perFrame * what.outputs);
    const inputs = {
      padded: new OrtTensor(padded, [padded.length / what.inputs, what.inputs]),
      frames: new OrtTensor(
        BigInt64Array.from({ length: frames }, (_, frame) => BigInt(frame)),
        [frames, 1],
      ),
    };
    new PreparedRun(session, inputs, { y: new OrtTensor(y, [frames * perFrame, what.outputs]) }).run();
    return y;
  };
}

/** Largest difference, as a share of the largest value. */
function distance(values: Float32Array, wanted: ArrayLike<number>): number {
  const peak = Array.from(wanted).reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  return values.reduce((largest, value, i) => Math.max(largest, Math.abs(value - wanted[i])), 0) / peak;
}

const plain: [Shape, number][] = [
  [{ taps: 1, dilation: 1, inputs: 12, outputs: 20 }, 2],
  [{ taps: 2, dilation: 1, inputs: 80, outputs: 120 }, 32],
  [{ taps: 3, dilation: 1, inputs: 16, outputs: 24 }, 1],
  [{ taps: 7, dilation: 3, inputs: 24, outputs: 24 }, 40],
  [{ taps: 7, dilation: 1, inputs: 72, outputs: 96 }, 4],
];
const inBlocks: [Shape, number][] = [1, 3, 9].flatMap((dilation) =>
  [32, 37, 40].map((perFrame): [Shape, number] => [{ taps: 7, dilation, inputs: 64, outputs: 72 }, perFrame]),
);
const cases = [
  ...plain.map((one) => ["in one product", ...one, MAX_PLAIN_ERROR] as const),
  ...inBlocks.map((one) => ["in blocks", ...one, MAX_BLOCK_ERROR] as const),
];

describe.each(cases)("%s: %j, %i rows a frame", (_way, shape, perFrame, bound) => {
  const what = makeFilter(shape);
  const context = (shape.taps - 1) * shape.dilation;
  const padded = noise((context + FRAMES * perFrame) * shape.inputs, 3);
  const run = openFilter(what, perFrame);
  const whole = run(padded, FRAMES);

  test("gives the plain sum", () => {
    expect(distance(whole, plainSum(padded, FRAMES * perFrame, what))).toBeLessThanOrEqual(bound);
  });

  test("gives the same frame by frame", () => {
    const parts = Array.from({ length: FRAMES }, (_, frame) => {
      const from = frame * perFrame * shape.inputs;
      return Array.from(run(padded.slice(from, from + (context + perFrame) * shape.inputs), 1));
    });
    expect(distance(Float32Array.from(parts.flat()), whole)).toBeLessThanOrEqual(MAX_CUT_ERROR);
  });
});

test.each<[string, Shape, number]>([
  ["few rows in one product", { taps: 2, dilation: 1, inputs: 1024, outputs: 4096 }, 4],
  ["few rows in blocks", { taps: 7, dilation: 1, inputs: 768, outputs: 768 }, 32],
  ["many rows in blocks", { taps: 7, dilation: 1, inputs: 768, outputs: 768 }, 40],
])("opening rearranges no weights: %s", (_, shape, perFrame) => {
  const path = saveFilter(makeFilter(shape), perFrame);
  openSession(path); // so that the library itself and its pool are in memory
  Bun.gc(true);
  const before = memoryNow().anon;
  openSession(path);
  expect(memoryNow().anon - before).toBeLessThan(statSync(`${path}.data`).size / 4);
});
