// Causal filters along time as matrix products: each of the newest input rows goes through its own matrix,
// and their sum is one row of results. Convolutions and transposed convolutions both fit this form, and ONNX
// Runtime does matrix products fastest. Where each result is one input, or nothing, no product is needed;
// weights that were written down instead of trained have many such filters.

import type { Graph } from "../../formats/onnx.ts";
import { linearOfFew, reshape, transpose } from "./layers.ts";

export interface Filter {
  /** Input rows, `dilation` apart, that make one row of results. */
  taps: number;
  dilation: number;
  inputs: number;
  outputs: number;
  /**
   * Makes the lookup of one weight; tap 0 is the oldest. Drop it after use: all filters together hold
   * hundreds of megabytes.
   */
  weights: () => (tap: number, input: number, output: number) => number;
  /** [outputs] */
  bias: Float32Array;
}

/** A filter that only copies: the input that each output takes, and its factor; f32 [outputs]. */
export interface Selection {
  inputs: number;
  index: number[];
  factors: Float32Array;
  bias: Float32Array;
}

/**
 * The selection equal to a filter that only copies inputs of the newest row; null for any other filter. Its
 * results equal those of the matrix product to the bit: products with zero add nothing, and where there is a
 * bias, a factor must be 0 or 1, because a product may be added to the bias before it is rounded.
 */
export function selectionOf({ taps, inputs, outputs, weights, bias }: Filter): Selection | null {
  const weight = weights();
  const index = new Array<number>(outputs).fill(0);
  const factors = new Float32Array(outputs);
  for (let output = 0; output < outputs; output++) {
    for (let tap = 0; tap < taps; tap++) {
      for (let input = 0; input < inputs; input++) {
        const factor = weight(tap, input, output);
        if (factor === 0) continue;
        const isSecond = factors[output] !== 0;
        if (isSecond || tap < taps - 1 || (factor !== 1 && bias[output] !== 0)) return null;
        index[output] = input;
        factors[output] = factor;
      }
    }
  }
  return { inputs, index, factors, bias };
}

/** x [rows, inputs] -> [rows, outputs] */
export function select(g: Graph, x: string, { inputs, index, factors, bias }: Selection): string {
  const row = (values: Float32Array) => g.values(values, [values.length]);
  const isAll = index.length === inputs && index.every((input, output) => input === output);
  let y = isAll ? x : g.op("Gather", [x, g.ints(index)], { axis: 1 });
  if (factors.some((factor) => factor !== 1)) y = g.op("Mul", [y, row(factors)]);
  return bias.some((value) => value !== 0) ? g.op("Add", [y, row(bias)]) : y;
}

/** The filter's input: (taps - 1) * dilation rows of context, then `perFrame` rows for each frame. */
export interface Rows {
  /** [context + frames * perFrame, inputs] */
  padded: string;
  perFrame: number;
  /** 0, 1, 2 ...: i64 [frames, 1] */
  frames: string;
}

/**
 * The results, [frames * perFrame, outputs], by one product with the taps side by side or, where that is
 * faster, in blocks.
 */
export function filter(g: Graph, rows: Rows, what: Filter): string {
  const isWide = Math.min(what.inputs, what.outputs) >= LEAST_WIDTH && rows.perFrame >= LEAST_ROWS;
  return isWide && what.taps === BLOCK_TAPS ? blockFilter(g, rows, what) : plainFilter(g, rows, what);
}

function plainFilter(g: Graph, rows: Rows, what: Filter): string {
  const { taps, dilation, inputs, outputs, bias } = what;
  const index = Array.from(
    { length: rows.perFrame * taps },
    (_, i) => Math.floor(i / taps) + (i % taps) * dilation,
  );
  const columns = taps === 1 ? rows.padded : reshape(g, gather(g, rows, g.ints(index)), [-1, taps * inputs]);
  const width = taps * inputs;
  const added = g.values(bias, [outputs]);
  if (rows.perFrame > FEW_ROWS)
    return g.op("Gemm", [columns, g.values(() => laidOut(what), [width, outputs]), added]);
  const weights = g.values(() => laidOut(what, [inputs, 1, width]), [outputs, width]);
  return linearOfFew(g, columns, weights, added);
}

/** The weights as [taps, inputs, outputs], or in the order that these strides give. */
function laidOut(
  { taps, inputs, outputs, weights }: Filter,
  strides = [inputs * outputs, outputs, 1],
): Float32Array {
  const weight = weights();
  const [ofTap, ofInput, ofOutput] = strides;
  const values = new Float32Array(taps * inputs * outputs);
  for (let tap = 0; tap < taps; tap++) {
    for (let input = 0; input < inputs; input++) {
      let at = tap * ofTap + input * ofInput;
      for (let output = 0; output < outputs; output++, at += ofOutput)
        values[at] = weight(tap, input, output);
    }
  }
  return values;
}

/**
 * Takes the rows `index`, i64 [..., n], of `padded` for the first frame, and for each later frame the rows
 * `perFrame` further on. The result is [..., frames, n, inputs].
 */
function gather(g: Graph, { padded, perFrame, frames }: Rows, index: string): string {
  return g.op("Gather", [padded, g.op("Add", [index, g.op("Mul", [frames, g.ints([perFrame])])])]);
}

// The same filter with fewer products (Toom-Cook, also known as Winograd's minimal filtering): BLOCK results
// take BLOCK + taps - 1 products, 10 instead of 28. Window and taps are evaluated at that many points and
// multiplied there, and the results are read off:
//
//   results = FROM_POINTS · ((TAPS_TO_POINTS · taps) ⊙ (WINDOW_TO_POINTS · window))
//
// The price is rounding: six times that of the plain sum, 1.6e-6 of the signal (-116 dB). Blocks of 6 would
// cost 7 % less time in all and round more than twice as much again.

const BLOCK = 4;
const BLOCK_TAPS = 7;
const PRODUCTS = BLOCK + BLOCK_TAPS - 1;
/**
 * The points, besides infinity. A search over such sets of simple fractions found that this one rounds least.
 */
const POINTS = [0, 2 / 5, -2 / 5, 4 / 5, -4 / 5, 5 / 4, -5 / 4, 5 / 2, -5 / 2];
/** Narrower filters would spend more time on evaluation than they save. */
const LEAST_WIDTH = 64;
/** With fewer rows a frame, reading matrices takes most of the time, and blocks have more of them. */
const LEAST_ROWS = 32;
/** Up to so many rows a frame, the weight is the left operand: see {@link linearOfFew}. */
const FEW_ROWS = 32;

type Matrix = number[][];

const TAPS_TO_POINTS = powers(BLOCK_TAPS);
const FROM_POINTS = transposed(powers(BLOCK));
const WINDOW_TO_POINTS = transposed(inverse(powers(PRODUCTS)));

/** Cuts each frame into blocks by itself, so that results do not depend on the number of frames in a call. */
function blockFilter(g: Graph, rows: Rows, what: Filter): string {
  const { dilation, inputs, outputs, bias } = what;
  const { perFrame } = rows;
  const blocks = Math.ceil(perFrame / (BLOCK * dilation));
  const apply = (matrix: Matrix, x: string) => {
    return g.op("MatMul", [
      g.values(Float32Array.from(matrix.flat()), [matrix.length, PRODUCTS]),
      reshape(g, x, [PRODUCTS, -1]),
    ]);
  };
  const windows = gather(
    g,
    rows,
    g.ints(windowIndex(blocks, dilation, perFrame), [PRODUCTS, 1, blocks * dilation]),
  );
  const evaluated = reshape(g, apply(WINDOW_TO_POINTS, windows), [PRODUCTS, -1, inputs]);
  const products =
    perFrame <= FEW_ROWS ? productsOfFew(g, evaluated, what) : productsOfMany(g, evaluated, what);
  // [BLOCK * frames * blocks * dilation, outputs]
  const results = reshape(g, apply(FROM_POINTS, products), [-1, outputs]);
  const inTime =
    perFrame % (BLOCK * dilation) === 0
      ? transpose(g, reshape(g, results, [BLOCK, -1, dilation * outputs]), [1, 0, 2])
      : g.op("Gather", [results, timeOrder(g, rows, blocks, dilation)]);
  return g.op("Add", [reshape(g, inTime, [-1, outputs]), g.values(bias, [outputs])]);
}

/**
 * Where each moment's result lies, i64 [frames * perFrame]: result k of window w lies at k * windows + w.
 * This leaves out results beyond the frame on the way; a transposition, which is faster, cannot.
 */
function timeOrder(g: Graph, { frames, perFrame }: Rows, blocks: number, dilation: number): string {
  const ofFrame = blocks * dilation;
  const moments = Array.from({ length: perFrame }, (_, moment) => moment);
  const inWindow = moments.map((moment) => Math.floor(moment / dilation) % BLOCK);
  const window = moments.map(
    (moment) => Math.floor(moment / (BLOCK * dilation)) * dilation + (moment % dilation),
  );
  const windows = g.op("Mul", [g.op("Shape", [frames], { end: 1 }), g.ints([ofFrame])]);
  const first = g.op("Add", [g.op("Mul", [g.ints(inWindow), windows]), g.ints(window)]);
  return reshape(g, g.op("Add", [first, g.op("Mul", [frames, g.ints([ofFrame])])]), [-1]);
}

// Both take and give [PRODUCTS, rows, width]. ONNX Runtime reads weights with three axes where they lie, too.

function productsOfMany(g: Graph, evaluated: string, what: Filter): string {
  const weights = () => atPoints(laidOut(what));
  return g.op("MatMul", [evaluated, g.values(weights, [PRODUCTS, what.inputs, what.outputs])]);
}

function productsOfFew(g: Graph, evaluated: string, what: Filter): string {
  const { inputs, outputs } = what;
  const weights = g.values(
    () => atPoints(laidOut(what, [inputs * outputs, 1, inputs])),
    [PRODUCTS, outputs, inputs],
  );
  return transpose(g, g.op("MatMul", [weights, transpose(g, evaluated, [0, 2, 1])]), [0, 2, 1]);
}

/**
 * Where element k of each window lies, [PRODUCTS, blocks * dilation]: `dilation` interleaved windows to a
 * block.
 */
function windowIndex(blocks: number, dilation: number, perFrame: number): number[] {
  const steps = blocks * dilation;
  // results beyond the frame are thrown away, so any row will do
  const last = (BLOCK_TAPS - 1) * dilation + perFrame - 1;
  return Array.from({ length: PRODUCTS * steps }, (_, i) => {
    const [k, step] = [Math.floor(i / steps), i % steps];
    return Math.min((Math.floor(step / dilation) * BLOCK + k) * dilation + (step % dilation), last);
  });
}

/**
 * The matrix that turns `width` coefficients into values at the points: powers 0 .. width - 1 of each point;
 * at infinity only the highest counts.
 */
function powers(width: number): Matrix {
  const exponents = Array.from({ length: width }, (_, exponent) => exponent);
  return [
    ...POINTS.map((point) => exponents.map((exponent) => point ** exponent)),
    exponents.map((e) => Number(e === width - 1)),
  ];
}

function transposed(matrix: Matrix): Matrix {
  return matrix[0].map((_, column) => matrix.map((row) => row[column]));
}

/** Gauss-Jordan, with the largest element of each column as its pivot. */
function inverse(matrix: Matrix): Matrix {
  const size = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => Number(i === j))]);
  for (let column = 0; column < size; column++) {
    const candidates = rows.slice(column).map((row) => Math.abs(row[column]));
    const pivot = column + candidates.indexOf(Math.max(...candidates));
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    const normed = rows[column].map((value) => value / rows[column][column]);
    rows.forEach((row, i) => {
      rows[i] = i === column ? normed : row.map((value, j) => value - row[column] * normed[j]);
    });
  }
  return rows.map((row) => row.slice(size));
}

/** The taps' matrices [taps, n] evaluated at the points: [PRODUCTS, n], each value rounded once. */
function atPoints(matrices: Float32Array): Float32Array {
  const size = matrices.length / BLOCK_TAPS;
  const values = new Float32Array(PRODUCTS * size);
  TAPS_TO_POINTS.forEach((weights, point) => {
    for (let i = 0; i < size; i++) {
      let sum = 0;
      for (let tap = 0; tap < BLOCK_TAPS; tap++) sum += weights[tap] * matrices[tap * size + i];
      values[point * size + i] = sum;
    }
  });
  return values;
}
