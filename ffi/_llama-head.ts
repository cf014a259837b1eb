// What one attention head of a context sees: its query and key of every decoded row. libllama's evaluation
// callback gives them, on the thread that decodes. The graph is computed in two parts then, which changes no
// bit; flash attention keeps its scores to itself.

import { JSCallback, type Pointer, read } from "bun:ffi";
import { GGML_TENSOR } from "./_ggml-abi.ts";
import { copyFloats } from "./libc.ts";
import { Pin } from "./load/memory.ts";

/** An attention head by its place in the model, the key head that it uses, and the width of both. */
export interface Head {
  layer: number;
  head: number;
  keyHead: number;
  width: number;
}

const { data, name, "ne[0]": width, "ne[1]": count } = GGML_TENSOR.fields;

/** The first four letters of the names that matter: all but a few nodes differ in them. */
const [QUERY, KEY] = ["Qcur", "Kcur"].map((text) => Buffer.from(text).readInt32LE());

export class HeadTap {
  /** f32 [rows of the last decode, width], after the rotation */
  readonly queries: Float32Array;
  readonly keys: Float32Array;
  /** What `cb_eval` of the context's parameters must be. */
  readonly callback: number;
  private readonly asked: JSCallback;
  private readonly pin = new Pin();
  /** The tensor of the last query that was seen; the rotated one comes last. */
  private query = 0;
  /** Rows of the decode under way, and those that were seen. */
  private rows = 0;
  private taken = 0;

  /** @param rows that one decode may take */
  constructor(
    private readonly head: Head,
    rows: number,
  ) {
    const size = rows * head.width;
    [this.queries, this.keys] = [this.pin.floats(size), this.pin.floats(size)];
    const names = { query: `Qcur-${head.layer}\0`, key: `Kcur-${head.layer} (view)\0` };
    const [query, key] = Object.values(names).map((text) => this.pin.keep(Buffer.from(text)));
    /** Called for every node of the graph before it is computed, and again after those it has asked for. */
    const look = (tensor: number, isAsking: boolean) => {
      if (this.taken === this.rows) return !isAsking;
      const start = read.i32(tensor as Pointer, name[0]);
      if (start === QUERY && isNamed(tensor, query)) this.query = tensor;
      if (start !== KEY || !isNamed(tensor, key)) return !isAsking;
      if (!isAsking) this.take(tensor);
      return true;
    };
    this.asked = new JSCallback(look, { args: ["ptr", "bool", "ptr"], returns: "bool" });
    this.callback = this.asked.ptr as number;
  }

  /** Before each decode of so many rows. */
  begin(rows: number): void {
    [this.rows, this.taken] = [rows, 0];
  }

  /**
   * libllama computes lanes that are no neighbours in one graph after the other, in the order of the rows.
   * @param key the rotated keys, f32 [rows, key heads * width]; the queries are [rows, heads * width]
   */
  private take(key: number): void {
    const { query } = this;
    const { head, keyHead, width: size } = this.head;
    const [heads, keyWidth, rows] = [sizeOf(query, count), sizeOf(key, width), sizeOf(key, count)];
    const [queries, keys] = [query, key].map((tensor) => read.ptr(tensor as Pointer, data[0]));
    for (let row = 0; row < rows; row++, this.taken++) {
      const [at, from] = [this.taken * size, (row * heads + head) * size];
      copyFloats(this.queries, at, size, (queries + 4 * from) as Pointer);
      copyFloats(this.keys, at, size, (keys + 4 * (row * keyWidth + keyHead * size)) as Pointer);
    }
  }

  /** Only after the context is freed. */
  close(): void {
    this.asked.close();
  }
}

const sizeOf = (tensor: number, [offset]: readonly [number, string]) => read.i32(tensor as Pointer, offset);

/** @param text ends in a NUL */
function isNamed(tensor: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (read.u8(tensor as Pointer, name[0] + i) !== text[i]) return false;
  return true;
}
