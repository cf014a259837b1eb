// The tables of a bundle, mapped: folded text, code embeddings, the code predictor's input rows and heads.
// Rows are read on demand.

import { type MappedFile, mapFile } from "../../ffi/libc.ts";
import { BUNDLE_HINT, TtsError } from "../errors.ts";
import { type Bundle, bundlePath } from "./bundle.ts";
import { parseSafetensors, type Tensor, toFloat32 } from "./safetensors.ts";

/** Names inside tables.safetensors; groups count from 0 for the talker's own code. */
export const TABLE = {
  /** [text vocabulary, hidden] */
  text: "text",
  /** [codec vocabulary or codes, hidden] */
  code: (group: number) => `code.${group}`,
  /** [codes, predictor hidden]: the predictor's input row of each code; only with an input projection. */
  predictorInput: (group: number) => `predictor.input.${group}`,
  /** [predictor hidden, hidden], and the bias [predictor hidden]; only with an input projection. */
  projectionWeight: "predictor.projection.weight",
  projectionBias: "predictor.projection.bias",
  /** [codes, predictor hidden], see {@link Head}; groups 1 to 15. */
  head: (group: number) => `predictor.head.${group}`,
} as const;

/** How a head is stored. The last two are ggml's types, whose rows are blocks of 32 elements. */
export type HeadType = "f32" | "f16" | "q8_0" | "q4_0";
const BLOCK_ELEMENTS = 32;
const BLOCK_BYTES = { q8_0: 34, q4_0: 18 } as const;

/** A head as stored, row-major; `bytes` is a view of the mapping. */
export interface Head {
  type: HeadType;
  bytes: Uint8Array;
}

/** Bytes of a row, or null where whole blocks do not fill `width`. */
export function blockRowBytes(type: keyof typeof BLOCK_BYTES, width: number): number | null {
  return width % BLOCK_ELEMENTS === 0 ? (width / BLOCK_ELEMENTS) * BLOCK_BYTES[type] : null;
}

/** A table whose rows are read one at a time. */
export abstract class RowTable {
  constructor(
    readonly rows: number,
    readonly width: number,
  ) {}

  /** target[at ...] = row */
  copyRow(row: number, target: Float32Array, at: number): void {
    target.fill(0, at, at + this.width);
    this.addRow(row, target, at);
  }

  /** target[at ...] += row */
  addRow(row: number, target: Float32Array, at: number): void {
    if (row < 0 || row >= this.rows) throw new RangeError(`row ${row} of ${this.rows}`);
    this.add(row, target, at);
  }

  protected abstract add(row: number, target: Float32Array, at: number): void;
}

/** Rows of numbers. */
class PlainTable extends RowTable {
  private readonly values: Float32Array | Float16Array | Uint16Array;

  constructor({ dtype, shape, bytes }: Tensor) {
    super(shape[0], shape[1]);
    const { buffer, byteOffset } = bytes;
    const count = this.rows * this.width;
    if (dtype === "F32") this.values = new Float32Array(buffer, byteOffset, count);
    else if (dtype === "F16") this.values = new Float16Array(buffer, byteOffset, count);
    else this.values = new Uint16Array(buffer, byteOffset, count); // bf16
  }

  protected add(row: number, target: Float32Array, at: number): void {
    const { values, width } = this;
    const from = row * width;
    if (values.length === 0) throw closed();
    if (values instanceof Uint16Array) {
      for (let i = 0; i < width; i++) target[at + i] += widen(values[from + i]);
    } else {
      for (let i = 0; i < width; i++) target[at + i] += values[from + i];
    }
  }
}

/** Rows of ggml's q8_0: blocks of an f16 scale and 32 signed bytes. */
class BlockTable extends RowTable {
  private readonly halves: Float16Array;
  private readonly codes: Int8Array;

  constructor({ bytes, shape }: Tensor, width: number) {
    super(shape[0], width);
    const { buffer, byteOffset, length } = bytes;
    this.halves = new Float16Array(buffer, byteOffset, length / 2);
    this.codes = new Int8Array(buffer, byteOffset, length);
  }

  protected add(row: number, target: Float32Array, at: number): void {
    const { codes, halves, width } = this;
    if (codes.length === 0) throw closed();
    const size = BLOCK_BYTES.q8_0;
    let from = (row * width * size) / BLOCK_ELEMENTS;
    for (let column = 0; column < width; column += BLOCK_ELEMENTS, from += size) {
      const scale = halves[from / 2];
      for (let i = 0; i < BLOCK_ELEMENTS; i++) target[at + column + i] += scale * codes[from + 2 + i];
    }
  }
}

const closed = () => new TypeError("the tables are closed");

const bits = new Uint32Array(1);
const number = new Float32Array(bits.buffer);
function widen(bf16: number): number {
  bits[0] = bf16 << 16;
  return number[0];
}

/** The mapped file. Its tables and heads are views of it, so none can be read after it is closed. */
export class Tables {
  private constructor(
    private readonly file: MappedFile,
    private readonly tensors: Map<string, Tensor>,
  ) {}

  /** @throws TtsError BUNDLE_INVALID when damaged */
  static open(bundle: Bundle): Tables {
    const path = bundlePath(bundle, "tables");
    let file: MappedFile | null = null;
    try {
      file = mapFile(path);
      return new Tables(file, parseSafetensors(file.bytes, path));
    } catch (cause) {
      file?.close();
      throw new TtsError("BUNDLE_INVALID", (cause as Error).message, BUNDLE_HINT, { cause });
    }
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /**
   * Its type and shape together tell how it is stored.
   * @throws TtsError BUNDLE_INVALID when it is missing or has another shape
   */
  table(name: string, rows: number, width: number): RowTable {
    const { dtype, offset, shape } = this.find(name);
    const isBlocks = dtype === "U8" && shape.join() === `${rows},${blockRowBytes("q8_0", width)}`;
    const tensor = isBlocks ? this.find(name) : this.tensor(name, [rows, width]);
    if (offset % (dtype === "F32" ? 4 : 2) !== 0)
      throw this.invalid(`table ${name} lies at the odd byte ${offset}`);
    return isBlocks ? new BlockTable(tensor, width) : new PlainTable(tensor);
  }

  /**
   * The head of a group. Its type and shape together tell how it is stored.
   * @throws TtsError BUNDLE_INVALID when they fit no head [codes, width]
   */
  head(group: number, codes: number, width: number): Head {
    const name = TABLE.head(group);
    const { bytes, dtype, shape } = this.find(name);
    const is = (wanted: string, row: number | null) => dtype === wanted && shape.join() === `${codes},${row}`;
    if (is("F32", width)) return { type: "f32", bytes };
    if (is("F16", width)) return { type: "f16", bytes };
    for (const type of ["q8_0", "q4_0"] as const)
      if (is("U8", blockRowBytes(type, width))) return { type, bytes };
    throw this.invalid(
      `table ${name} is ${dtype} [${shape}], which is no head of ${codes} codes and width ${width}`,
    );
  }

  /** A whole small matrix or vector as f32. */
  matrix(name: string, shape: readonly number[]): Float32Array {
    return toFloat32(this.tensor(name, shape));
  }

  close(): void {
    this.file.close();
  }

  private tensor(name: string, shape: readonly number[]): Tensor {
    const tensor = this.find(name);
    const found = tensor.shape.join();
    if (found !== shape.join())
      throw this.invalid(`table ${name} has the shape [${found}], the manifest says [${shape}]`);
    if (!["F32", "F16", "BF16"].includes(tensor.dtype))
      throw this.invalid(`table ${name} has the type ${tensor.dtype}`);
    return tensor;
  }

  private find(name: string): Tensor {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw this.invalid(`has no table ${name}`);
    return tensor;
  }

  private invalid(what: string): TtsError {
    return new TtsError("BUNDLE_INVALID", `${this.file.path}: ${what}`, BUNDLE_HINT);
  }
}

/**
 * y = W x (+ bias): W [rows, width] row-major, read once, four rows at a time (measured: nearly twice as fast
 * as one). `x` is read and `y` written from the given offsets on.
 */
export function matVec(
  w: Float32Array,
  x: Float32Array,
  xAt: number,
  width: number,
  y: Float32Array,
  yAt: number,
  rows: number,
  bias?: Float32Array,
): void {
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    const a = row * width;
    const [b, c, d] = [a + width, a + 2 * width, a + 3 * width];
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let i = 0; i < width; i++) {
      const v = x[xAt + i];
      s0 += w[a + i] * v;
      s1 += w[b + i] * v;
      s2 += w[c + i] * v;
      s3 += w[d + i] * v;
    }
    y[yAt + row] = s0;
    y[yAt + row + 1] = s1;
    y[yAt + row + 2] = s2;
    y[yAt + row + 3] = s3;
  }
  for (; row < rows; row++) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += w[row * width + i] * x[xAt + i];
    y[yAt + row] = sum;
  }
  if (bias !== undefined) for (let i = 0; i < rows; i++) y[yAt + i] += bias[i];
}
