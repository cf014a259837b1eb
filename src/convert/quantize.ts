// Weights in blocks of 4 or 8 bits, as ONNX Runtime's MatMulNBits reads them: rows of codes, and one f32
// scale per block.

export type Bits = 4 | 8;

/**
 * Columns that share a scale. Short blocks cost speed, long ones precision. With longer ones (4 bits from 64,
 * 8 bits from 128) ONNX Runtime's AVX-512 kernels for pairs of rows round otherwise than those for one row,
 * which would forbid speculation; these are not slower (measured: 8 bits in blocks of 64 take 0.87 of 128).
 */
export const BLOCK_SIZE: Record<Bits, number> = { 4: 32, 8: 64 };

export interface QuantizedMatrix {
  blockSize: number;
  /** [rows, blocks, blockSize * bits / 8]; a byte holds two 4-bit codes, the first in its low half. */
  codes: Uint8Array;
  /** [rows, blocks] */
  scales: Float32Array;
}

/**
 * Rounds each of `values` [rows, columns] to the nearest code of its block. A weight is (code - 2^(bits-1)) *
 * scale. A row's last block is filled up with zeros. With 4 bits the value furthest from 0 gets the code 0,
 * which reaches one step further than 15.
 */
export function quantizeMatrix(values: Float32Array, columns: number, bits: Bits): QuantizedMatrix {
  const blockSize = BLOCK_SIZE[bits];
  const blocks = Math.ceil(columns / blockSize);
  const scales = new Float32Array((values.length / columns) * blocks);
  const codes = new Uint8Array(scales.length * blockSize);
  const [zero, most] = [2 ** (bits - 1), 2 ** bits - 1];
  codes.fill(zero);
  for (let block = 0; block < scales.length; block++) {
    const row = Math.floor(block / blocks);
    const from = row * columns + (block % blocks) * blockSize;
    const to = Math.min(from + blockSize, (row + 1) * columns);
    let extreme = 0;
    for (let i = from; i < to; i++) if (Math.abs(values[i]) > Math.abs(extreme)) extreme = values[i];
    if (extreme === 0) continue;
    scales[block] = bits === 4 ? -extreme / zero : Math.abs(extreme) / (zero - 1);
    const [at, inverse] = [block * blockSize - from, 1 / scales[block]];
    for (let i = from; i < to; i++) codes[at + i] = Math.min(most, Math.round(values[i] * inverse) + zero);
  }
  return { blockSize, codes: bits === 4 ? packHalves(codes) : codes, scales };
}

function packHalves(codes: Uint8Array): Uint8Array {
  const packed = new Uint8Array(codes.length / 2);
  for (let i = 0; i < packed.length; i++) packed[i] = codes[2 * i] | (codes[2 * i + 1] << 4);
  return packed;
}
