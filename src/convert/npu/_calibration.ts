// Calibration inputs as AXERA's toolkit reads them: numbers from a real run, as .npy files, in one tar per
// input.

import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { elementsOf } from "../../../ffi/npu/model.ts";
import type { NpuTensorInfo } from "../../formats/npu-folder.ts";
import { asBytes, writeAll } from "../../io/bytes.ts";

export const CALIBRATION = "calibration";
const TAR_BLOCK = 512;
const NPY_ALIGNMENT = 64;

/** The recorded runs of an input; the path is relative to the folder. */
export const tarOf = (part: string, tensor: string) => `${CALIBRATION}/${part}/${tensor}.tar`;

/** The inputs of one part. */
export class CalibrationSet {
  private runs = 0;
  private readonly tars = new Map<string, number>();

  /** @param part the part's name without suffix */
  constructor(
    folder: string,
    part: string,
    private readonly inputs: readonly NpuTensorInfo[],
  ) {
    mkdirSync(join(folder, CALIBRATION, part), { recursive: true });
    for (const { name } of inputs) this.tars.set(name, openSync(join(folder, tarOf(part, name)), "wx"));
  }

  /** Writes the present values of all inputs as one run. */
  add(read: (name: string) => Float32Array): void {
    const run = `${String(this.runs++).padStart(3, "0")}.npy`;
    for (const { name, shape } of this.inputs) {
      const values = read(name);
      if (values.length !== elementsOf(shape))
        throw new RangeError(`${name}: ${values.length} values for [${shape}]`);
      const [tar, file] = [this.tars.get(name)!, npy(values, shape)];
      writeAll(tar, tarHeader(run, file.length));
      writeAll(tar, file);
      writeAll(tar, new Uint8Array((TAR_BLOCK - (file.length % TAR_BLOCK)) % TAR_BLOCK));
    }
  }

  close(): void {
    for (const tar of this.tars.values()) {
      writeAll(tar, new Uint8Array(2 * TAR_BLOCK));
      closeSync(tar);
    }
  }
}

/** `wanted` whole numbers below `count`, evenly spread, 0 included. */
export function spread(count: number, wanted: number): Set<number> {
  const taken = Math.min(count, wanted);
  return new Set(Array.from({ length: taken }, (_, i) => Math.floor((i * count) / taken)));
}

/** NumPy's file format, version 1: f32, little endian, row-major. */
function npy(values: Float32Array, shape: readonly number[]): Uint8Array {
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${dims}), }`;
  const length = Math.ceil((10 + text.length + 1) / NPY_ALIGNMENT) * NPY_ALIGNMENT;
  const head = Buffer.alloc(length, " ");
  head.write("\x93NUMPY\x01\x00", "latin1");
  head.writeUInt16LE(length - 10, 8);
  head.write(text, 10, "latin1");
  head.write("\n", length - 1);
  return Buffer.concat([head, asBytes(values)]);
}

/** The ustar header of a plain file. Nothing in it depends on when it was made or by whom. */
function tarHeader(name: string, bytes: number): Uint8Array {
  const header = Buffer.alloc(TAR_BLOCK);
  const octal = (value: number, at: number, width: number) =>
    header.write(`${value.toString(8).padStart(width - 1, "0")}\0`, at);
  header.write(name, 0);
  octal(0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(bytes, 124, 12);
  octal(0, 136, 12);
  header.write("        0", 148); // the checksum field counts as spaces; type 0
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}
