// Products of quantised matrices through ggml against sums in JavaScript, whatever the type, the shape and
// the number of rows and threads.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  type Matrix,
  MatrixProducts,
  type MatrixType,
  quantizeRows,
  rowBytes,
  ThreadPool,
} from "../../ffi/ggml.ts";
import { loadLlama } from "../../ffi/llama.ts";
import { blockRowBytes } from "../../src/formats/tables.ts";

/**
 * Largest rms of the error as a share of the result's rms, for weights and inputs that are uniform around 0.
 * From armv8.2 on, f16 is also summed in f16: 1.1e-3 with 1024 columns.
 */
const TOLERANCE: Record<MatrixType, number> = { f32: 1e-6, f16: 2e-3, q8_0: 0.01, q4_0: 0.1 };
const TYPES = Object.keys(TOLERANCE) as MatrixType[];

beforeAll(() => void loadLlama());

/** The same numbers in every run, from -1 to 1. */
function numbers(count: number, seed: number): Float32Array {
  let state = seed;
  return new Float32Array(count).map(() => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

const matrixOf = (type: MatrixType, values: Float32Array, width: number): Matrix => ({
  type,
  bytes: quantizeRows(type, values, width),
});

/** rms of `y` - W x as a share of rms of W x. */
function errorOf(w: Float32Array, x: Float32Array, y: Float32Array): number {
  let [error, size] = [0, 0];
  for (let row = 0; row < y.length; row++) {
    const exact = x.reduce((sum, value, i) => sum + value * w[row * x.length + i], 0);
    error += (y[row] - exact) ** 2;
    size += exact ** 2;
  }
  return Math.sqrt(error / size);
}

describe.each(TYPES)("matrices in %s", (type) => {
  let pool: ThreadPool;
  beforeAll(() => {
    pool = new ThreadPool(2);
  });
  afterAll(() => pool.close());

  // 37 rows fit no rearranged order of elements.
  test.each([
    [256, 128, 1, 1],
    [256, 128, 4, 1],
    [64, 1024, 3, 2],
    [37, 64, 2, 1],
    [37, 64, 5, 2],
    [1, 32, 1, 1],
  ])("[%i, %i] with %i lanes on %i threads", (rows, width, lanes, threads) => {
    const weights = [1, 2, 3].map((seed) => numbers(rows * width, seed));
    const matrices = weights.map((values) => matrixOf(type, values, width));
    const products = new MatrixProducts(matrices, { rows, width, lanes, pool: threads === 1 ? null : pool });
    for (let count = 1; count <= lanes; count++) {
      products.input.set(numbers(lanes * width, 10 + count));
      for (const [matrix, values] of weights.entries()) {
        products.output.fill(77);
        products.run(matrix, count);
        for (let lane = 0; lane < count; lane++) {
          const [x, y] = [
            products.input.subarray(lane * width, (lane + 1) * width),
            products.output.subarray(lane * rows, (lane + 1) * rows),
          ];
          // One row is one number: its error may be a larger share of it.
          expect(errorOf(values, x, y)).toBeLessThan(TOLERANCE[type] * (rows === 1 ? 4 : 1));
        }
        expect(new Set(products.output.subarray(count * rows))).toEqual(new Set(count < lanes ? [77] : []));
      }
    }
    products.close();
  });

  test("a repeated product is the same to the bit", () => {
    const [rows, width] = [128, 256];
    const products = new MatrixProducts([matrixOf(type, numbers(rows * width, 1), width)], {
      rows,
      width,
      lanes: 2,
      pool: null,
    });
    products.input.set(numbers(2 * width, 5));
    products.run(0, 2);
    const first = products.output.slice();
    products.run(0, 1);
    products.run(0, 2);
    expect(products.output).toEqual(first);
    products.close();
  });

  test("a matrix of another size is refused before ggml sees it", () => {
    const [rows, width] = [8, 64];
    const { bytes } = matrixOf(type, numbers(rows * width, 1), width);
    const options = { rows, width, lanes: 1, pool: null };
    for (const wrong of [bytes.subarray(1), new Uint8Array(0), new Uint8Array(bytes.length + 1)]) {
      expect(
        () =>
          new MatrixProducts(
            [
              { type, bytes },
              { type, bytes: wrong },
            ],
            options,
          ),
      ).toThrow(RangeError);
    }
  });
});

test("matrices of several types go together", () => {
  const [rows, width] = [64, 96];
  const weights = TYPES.map((_, i) => numbers(rows * width, i + 1));
  const matrices = TYPES.map((type, i) => matrixOf(type, weights[i], width));
  const products = new MatrixProducts(matrices, { rows, width, lanes: 1, pool: null });
  products.input.set(numbers(width, 9));
  TYPES.forEach((type, i) => {
    products.run(i, 1);
    expect(errorOf(weights[i], products.input, products.output)).toBeLessThan(TOLERANCE[type]);
  });
  products.close();
});

test("a product that was not prepared is refused", () => {
  const products = new MatrixProducts([matrixOf("f32", numbers(64, 1), 8)], {
    rows: 8,
    width: 8,
    lanes: 2,
    pool: null,
  });
  for (const [matrix, count] of [
    [0, 0],
    [0, 3],
    [1, 1],
    [-1, 1],
    [0, 1.5],
  ]) {
    expect(() => products.run(matrix, count)).toThrow(RangeError);
  }
  products.close();
});

test("only whole blocks make a row, of the size that tables count with", () => {
  for (const width of [1, 31, 32, 33, 48, 64, 1024]) {
    for (const type of ["q8_0", "q4_0"] as const)
      expect(rowBytes(type, width)).toBe(blockRowBytes(type, width));
    expect([rowBytes("f32", width), rowBytes("f16", width)]).toEqual([4 * width, 2 * width]);
  }
  expect(() => quantizeRows("q4_0", numbers(66, 1), 33)).toThrow(RangeError);
  expect(() => quantizeRows("q4_0", numbers(65, 1), 32)).toThrow(RangeError);
});

test("nothing is left behind by 300 rounds of opening and closing", () => {
  const [rows, width] = [256, 512];
  const matrices = Array.from({ length: 15 }, (_, i) =>
    matrixOf("q4_0", numbers(rows * width, i + 1), width),
  ); // 1.1 MB
  const round = () => {
    const pool = new ThreadPool(2);
    const products = new MatrixProducts(matrices, { rows, width, lanes: 4, pool });
    products.run(14, 4);
    products.close();
    pool.close();
  };
  for (let i = 0; i < 50; i++) round();
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  for (let i = 0; i < 300; i++) round();
  Bun.gc(true);
  // descriptions of graphs and tensors alone are 50 kB a round
  expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(8);
});
