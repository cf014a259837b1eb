// sin^2 out of operators that an RK3588 computes on its NPU: Abs, Relu, Clip, Mul, Add and Sub.

import type { Graph } from "../../formats/onnx.ts";

/**
 * sin^2 of `turns` half turns, 0 to 2^folds; larger angles count as 2^folds. sin^2 depends neither on whole
 * half turns nor on the sign, so each fold, min(turns, 2^k - turns), halves the range and loses no digit. The
 * toolkit puts Min on the CPU, so the fold is turns - relu(2 turns - 2^k): the same number, exact in float16
 * too. The last range is 0 to 1/2, where a polynomial is enough.
 */
export function foldedSine(g: Graph, turns: string, folds: number): string {
  let left = g.op("Clip", [turns, g.float(0), g.float(2 ** folds)]);
  for (let k = folds; k >= 0; k--) {
    const beyond = g.op("Sub", [g.op("Mul", [left, g.float(2)]), g.float(2 ** k)]);
    left = g.op("Sub", [left, g.op("Relu", [beyond])]);
  }
  const squared = g.op("Mul", [left, left]);
  const [highest, ...lower] = SINE.toReversed();
  let ratio = g.op("Mul", [squared, g.float(highest)]);
  lower.forEach((coefficient, i) => {
    ratio = g.op("Add", [i === 0 ? ratio : g.op("Mul", [ratio, squared]), g.float(coefficient)]);
  });
  const sine = g.op("Mul", [ratio, left]);
  return g.op("Mul", [sine, sine]);
}

/**
 * sin(pi x) / x as a polynomial of q = x^2, for q up to 1/4, through its values at four Chebyshev points.
 * Lowest power first.
 */
const SINE = polynomial(4, 0.25, (q) => Math.sin(Math.PI * Math.sqrt(q)) / Math.sqrt(q));

/** The polynomial of `count` coefficients through f's values at Chebyshev points from 0 to `end`. */
function polynomial(count: number, end: number, f: (x: number) => number): number[] {
  const points = Array.from(
    { length: count },
    (_, i) => (end / 2) * (1 + Math.cos((Math.PI * (i + 0.5)) / count)),
  );
  const sum = new Array<number>(count).fill(0);
  points.forEach((point, i) => {
    let basis = [1]; // Lagrange: one at this point, zero at the others
    points.forEach((other, j) => {
      if (j === i) return;
      const raised = [0, ...basis];
      basis = raised.map((value, power) => (value - other * (basis[power] ?? 0)) / (point - other));
    });
    basis.forEach((value, power) => {
      sum[power] += value * f(point);
    });
  });
  return sum;
}
