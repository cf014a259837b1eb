// Weights in blocks of 4 or 8 bits: the meaning of a code, the bounds of rounding, and that ONNX Runtime
// reads them the same way.

import { expect, test } from "bun:test";
import { loadOnnxRuntime, OrtSession, OrtTensor, PreparedRun } from "../../ffi/onnxruntime.ts";
import { type Bits, type QuantizedMatrix, quantizeMatrix } from "../../src/convert/quantize.ts";
import { Graph } from "../../src/formats/onnx.ts";

const wave = (length: number) =>
  Float32Array.from({ length }, (_, i) => Math.sin(i * 0.7) * Math.cos(i * 0.013));

/** The weights that codes and scales stand for, computed independently of the quantiser. */
function weightsOf(
  { blockSize, codes, scales }: QuantizedMatrix,
  bits: Bits,
  rows: number,
  columns: number,
): Float32Array {
  const blocks = Math.ceil(columns / blockSize);
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const at = row * blocks * blockSize + column;
    const code = bits === 8 ? codes[at] : (codes[at >> 1] >> (4 * (at & 1))) & 15;
    return (code - 2 ** (bits - 1)) * scales[row * blocks + Math.floor(column / blockSize)];
  });
}

const SHAPES: [bits: Bits, rows: number, columns: number][] = [
  [4, 8, 64],
  [4, 3, 40],
  [8, 8, 256],
  [8, 3, 40],
  [8, 5, 200],
];

test.each(SHAPES)(
  "%d bits: weights of [%d, %d] move by at most half a step, or by a whole step opposite to the extreme",
  (bits, rows, columns) => {
    const values = wave(rows * columns);
    const quantized = quantizeMatrix(values, columns, bits);
    const blocks = Math.ceil(columns / quantized.blockSize);
    weightsOf(quantized, bits, rows, columns).forEach((weight, i) => {
      const scale = Math.abs(
        quantized.scales[Math.floor(i / columns) * blocks + Math.floor((i % columns) / quantized.blockSize)],
      );
      const clipped = bits === 4 && Math.abs(values[i]) > 7.5 * scale;
      expect(Math.abs(weight - values[i])).toBeLessThanOrEqual(scale * (clipped ? 1 : 0.5) + 1e-6);
    });
  },
);

test("the value furthest from zero is kept, and a block of zeros stays zero", () => {
  for (const bits of [4, 8] as const) {
    const values = new Float32Array(512);
    values.set([0.1, -0.9, 0.3], 256);
    const weights = weightsOf(quantizeMatrix(values, 256, bits), bits, 2, 256);
    expect(weights.subarray(0, 256).every((weight) => weight === 0)).toBe(true);
    expect(weights[257]).toBeCloseTo(-0.9, 6);
  }
});

test.each([
  [4, 8, 64],
  [8, 2, 256],
] as const)("ONNX Runtime multiplies with them: %d bits, [%d, %d]", (bits, rows, columns) => {
  loadOnnxRuntime();
  const quantized = quantizeMatrix(wave(rows * columns), columns, bits);
  const { blockSize, codes, scales } = quantized;
  const g = new Graph({ name: "product" });
  const x = g.input("x", "f32", [1, columns]);
  const inputs = [
    x,
    g.bytes(() => codes, [rows, columns / blockSize, (blockSize * bits) / 8]),
    g.values(scales, [scales.length]),
  ];
  g.output("y", g.ortOp("MatMulNBits", inputs, { K: columns, N: rows, bits, block_size: blockSize }), "f32", [
    1,
    rows,
  ]);
  const session = OrtSession.fromBytes("product", g.encode(), { threads: 1 });
  const [input, output] = [
    Float32Array.from({ length: columns }, (_, i) => Math.cos(i)),
    new Float32Array(rows),
  ];
  new PreparedRun(
    session,
    { x: new OrtTensor(input, [1, columns]) },
    { y: new OrtTensor(output, [1, rows]) },
  ).run();
  const weights = weightsOf(quantized, bits, rows, columns);
  output.forEach((value, row) => {
    expect(value).toBeCloseTo(
      input.reduce((sum, entry, i) => sum + entry * weights[row * columns + i], 0),
      4,
    );
  });
  session.close();
});
