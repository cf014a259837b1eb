// A small ONNX graph builder. Values are names; `op` gives one value, `ops` several. Large weights become
// external data: copied into NAME.data, or left in a clone of a checkpoint file beside the model. Weights of
// branches are in the model file itself.

import { closeSync, openSync } from "node:fs";
import { basename } from "node:path";
import { asBytes, writeAll } from "../io/bytes.ts";
import { Message } from "./_protobuf.ts";
import { byteLength, type Tensor, toFloat32 } from "./safetensors.ts";

const ELEMENT_TYPE = { f32: 1, u8: 2, i32: 6, i64: 7 } as const;
export type ElementType = keyof typeof ELEMENT_TYPE;
type Attribute = number | string | number[] | { float: number } | { graph: Scope };
type Dim = number | string;

const IR_VERSION = 9;
const OPSET = 20; // the first with Gelu
const PORTABLE_OPSET = 18; // RK3588 supports up to 19
/** Smaller weights are stored inside the model file. */
const EXTERNAL_FROM_BYTES = 1024;
const ALIGNMENT = 64;
/** Computing weights leaves garbage up to ten times their size, which by itself triggers no collection. */
const COLLECT_EVERY_BYTES = 8e6;
/** Domain of ONNX Runtime's own operators. */
const ORT_DOMAIN = "com.microsoft";
/** "To the end" for Slice. */
export const END = 2 ** 31 - 1;

/** The source of a weight's bytes when the model is saved. */
interface ExternalWeight {
  name: string;
  type: ElementType;
  shape: readonly number[];
  source:
    | { bytes: () => Uint8Array; length: number }
    | { sharedFile: string; offset: number; length: number };
}

export interface Node {
  type: string;
  domain: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: Record<string, Attribute>;
}

/** The graph itself, or one branch of an If. */
interface Scope {
  nodes: Node[];
  inline: Message[];
  external: ExternalWeight[];
  /** Values that {@link Graph.remember} has made in this scope or an outer one. */
  known: Map<string, string>;
  /** Only a branch has some. */
  outputs?: readonly string[];
}

const newScope = (known?: Map<string, string>): Scope => ({
  nodes: [],
  inline: [],
  external: [],
  known: new Map(known),
});

export interface GraphOptions {
  name: string;
  /** Checkpoint file -> name of its clone beside the model. F32 tensors of such a file are not copied. */
  shared?: Readonly<Record<string, string>>;
}

export class Graph {
  private readonly whole = newScope();
  /** The scope that is being built: the whole, or a branch. */
  private scope = this.whole;
  private readonly inputs: Message[] = [];
  private readonly outputs: Message[] = [];
  private counter = 0;
  /** Bytes that were written since the last collection. */
  private uncollected = 0;
  private usesOrtOperators = false;
  /** Shapes of inputs and constants. With the values in `integers` they give the shapes of all results. */
  readonly shapes = new Map<string, readonly Dim[]>();
  readonly integers = new Map<string, readonly number[]>();
  /** Checkpoint files in which weights were left. */
  readonly usedShared = new Set<string>();

  constructor(private readonly options: GraphOptions) {}

  /** The nodes in the order in which they run; nodes of branches are inside the node that chooses. */
  get nodes(): readonly Node[] {
    return this.whole.nodes;
  }

  input(name: string, type: ElementType, shape: readonly Dim[]): string {
    this.shapes.set(name, shape);
    this.inputs.push(valueInfo(name, type, shape));
    return name;
  }

  /** Gives `value` the public name `name`. */
  output(name: string, value: string, type: ElementType, shape: readonly Dim[]): void {
    this.add("Identity", [value], [name]);
    this.outputs.push(valueInfo(name, type, shape));
  }

  op(type: string, inputs: string[], attributes: Record<string, Attribute> = {}): string {
    return this.ops(type, 1, inputs, attributes)[0];
  }

  ops(type: string, count: number, inputs: string[], attributes: Record<string, Attribute> = {}): string[] {
    const outputs = Array.from({ length: count }, () => `${type}_${this.counter++}`);
    this.add(type, inputs, outputs, attributes);
    return outputs;
  }

  /** An operator that only ONNX Runtime has. */
  ortOp(type: string, inputs: string[], attributes: Record<string, Attribute> = {}): string {
    return this.ortOps(type, 1, inputs, attributes)[0];
  }

  ortOps(
    type: string,
    count: number,
    inputs: string[],
    attributes: Record<string, Attribute> = {},
  ): string[] {
    this.usesOrtOperators = true;
    const outputs = Array.from({ length: count }, () => `${type}_${this.counter++}`);
    this.add(type, inputs, outputs, attributes, ORT_DOMAIN);
    return outputs;
  }

  private add(
    type: string,
    inputs: string[],
    outputs: string[],
    attributes: Record<string, Attribute> = {},
    domain = "",
  ): void {
    this.scope.nodes.push({ type, domain, inputs, outputs, attributes });
  }

  /**
   * The values of one of two branches, as many in both; only the chosen one is computed. Branches see every
   * value made before.
   */
  choose(condition: string, then: () => string[], otherwise: () => string[]): string[] {
    const [yes, no] = [this.branch(then), this.branch(otherwise)];
    return this.ops("If", yes.outputs!.length, [condition], {
      then_branch: { graph: yes },
      else_branch: { graph: no },
    });
  }

  /**
   * Weights made by `build` are stored in the branch itself, because only there ONNX Runtime prepares them
   * for its matrix products.
   */
  private branch(build: () => string[]): Scope {
    const outer = this.scope;
    this.scope = newScope(outer.known);
    const outputs = build().map((value) => {
      const output = `branch_${this.counter++}`;
      this.add("Identity", [value], [output]);
      return output;
    });
    const branch = { ...this.scope, outputs };
    this.scope = outer;
    return branch;
  }

  /** A small integer vector (or scalar, with shape []). */
  ints(values: readonly number[], shape: readonly number[] = [values.length]): string {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    const name = this.remember(`i64:${shape}:${values}`, () => this.inlineTensor("i64", shape, bytes));
    this.integers.set(name, values);
    return name;
  }

  float(value: number): string {
    return this.remember(`f32:${value}`, () =>
      this.inlineTensor("f32", [], new Uint8Array(Float32Array.of(value).buffer)),
    );
  }

  /** Computed f32 values. Give a function for large ones, so that they are computed when they are written. */
  values(values: Float32Array | (() => Float32Array), shape: readonly number[]): string {
    const compute = typeof values === "function" ? values : () => values;
    return this.weight("f32", shape, { bytes: () => asBytes(compute()), length: bytesOf(shape) });
  }

  /** Bytes that are computed when they are written. */
  bytes(compute: () => Uint8Array, shape: readonly number[]): string {
    return this.weight("u8", shape, { bytes: compute, length: byteLength({ dtype: "U8", shape }) });
  }

  /** A tensor of the checkpoint as f32, optionally under another shape of the same elements. */
  tensor(tensor: Tensor, shape: readonly number[] = tensor.shape): string {
    return this.remember(`tensor:${tensor.file}:${tensor.name}:${shape}`, () => {
      const clone = this.scope === this.whole ? this.options.shared?.[tensor.file] : undefined;
      const length = bytesOf(shape);
      if (clone !== undefined && tensor.dtype === "F32" && length >= EXTERNAL_FROM_BYTES) {
        this.usedShared.add(tensor.file);
        return this.weight("f32", shape, { sharedFile: clone, offset: tensor.offset, length });
      }
      return this.weight("f32", shape, { bytes: () => asBytes(toFloat32(tensor)), length });
    });
  }

  private weight(type: ElementType, shape: readonly number[], source: ExternalWeight["source"]): string {
    if ("bytes" in source && source.length < EXTERNAL_FROM_BYTES)
      return this.inlineTensor(type, shape, source.bytes());
    const name = `weight_${this.counter++}`;
    this.shapes.set(name, shape);
    this.scope.external.push({ name, type, shape, source });
    return name;
  }

  private inlineTensor(type: ElementType, shape: readonly number[], bytes: Uint8Array): string {
    const name = `constant_${this.counter++}`;
    this.shapes.set(name, shape);
    this.scope.inline.push(tensorHead(name, type, shape).bytes(9, bytes.slice()));
    return name;
  }

  private remember(key: string, make: () => string): string {
    const value = this.scope.known.get(key) ?? make();
    this.scope.known.set(key, value);
    return value;
  }

  /**
   * Writes the model and `PATH.data`, which holds its large weights and may be empty. Weights of branches go
   * into the model: ONNX Runtime refuses theirs in a file with several hard links, as `cp -al` makes them.
   */
  save(path: string): void {
    const data = `${path}.data`;
    const file = openSync(data, "wx");
    let at = 0;
    const place = (weight: ExternalWeight): Message => {
      const { source } = weight;
      if ("sharedFile" in source)
        return externalTensor(weight, source.sharedFile, source.offset, source.length);
      const placed = externalTensor(weight, basename(data), at, source.length);
      const padding = (ALIGNMENT - (source.length % ALIGNMENT)) % ALIGNMENT;
      writeAll(file, source.bytes());
      writeAll(file, new Uint8Array(padding));
      at += source.length + padding;
      this.collect(source.length);
      return placed;
    };
    try {
      this.write(path, this.message(place));
    } finally {
      closeSync(file);
    }
  }

  /**
   * Writes the model for tools that support less than ONNX Runtime: one file with all weights, which protobuf
   * limits to 2 GB, an older operator set, and a name for every node. Shared weights are not allowed.
   */
  savePortable(path: string): void {
    this.write(path, this.message(insideTensor, true));
  }

  private write(path: string, message: Message): void {
    const file = openSync(path, "wx");
    try {
      for (const chunk of message.chunks()) {
        writeAll(file, chunk);
        this.collect(chunk.length);
      }
    } finally {
      closeSync(file);
    }
  }

  private collect(written: number): void {
    this.uncollected += written;
    if (this.uncollected <= COLLECT_EVERY_BYTES) return;
    Bun.gc(true);
    this.uncollected = 0;
  }

  /** The model as bytes; only for graphs whose weights are all inline. */
  encode(): Uint8Array {
    const refuse = () => {
      throw new TypeError("this graph has external weights: save() it");
    };
    return this.message(refuse).encode();
  }

  private message(place: Place, portable = false): Message {
    const graph = scopeMessage(this.whole, this.options.name, place, portable);
    for (const item of this.inputs) graph.message(11, item);
    for (const item of this.outputs) graph.message(12, item);
    const model = new Message().int(1, IR_VERSION).string(2, "qwen3-tts-edge").message(7, graph);
    model.message(8, new Message().string(1, "").int(2, portable ? PORTABLE_OPSET : OPSET));
    if (this.usesOrtOperators) model.message(8, new Message().string(1, ORT_DOMAIN).int(2, 1));
    return model;
  }
}

/** Writes a large weight somewhere and describes it. */
type Place = (weight: ExternalWeight) => Message;

function scopeMessage(
  { nodes, inline, external, outputs = [] }: Scope,
  name: string,
  place: Place,
  namesNodes = false,
): Message {
  const graph = new Message();
  for (const item of nodes) graph.message(1, nodeMessage(item, place, namesNodes));
  graph.string(2, name);
  const isBranch = outputs.length > 0;
  for (const item of [...inline, ...external.map(isBranch ? insideTensor : place)]) graph.message(5, item);
  for (const output of outputs) graph.message(12, new Message().string(1, output));
  return graph;
}

const bytesOf = (shape: readonly number[]) => byteLength({ dtype: "F32", shape });

function nodeMessage(
  { attributes, domain, inputs, outputs, type }: Node,
  place: Place,
  hasName: boolean,
): Message {
  const message = new Message();
  for (const input of inputs) message.string(1, input);
  for (const output of outputs) message.string(2, output);
  if (hasName) message.string(3, outputs[0]);
  message.string(4, type);
  for (const [key, value] of Object.entries(attributes)) message.message(5, attribute(key, value, place));
  return domain === "" ? message : message.string(7, domain);
}

const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, graph: 5, ints: 7 } as const;

function attribute(name: string, value: Attribute, place: Place): Message {
  const message = new Message().string(1, name);
  if (typeof value === "number") return message.int(3, value).int(20, ATTRIBUTE_TYPE.int);
  if (typeof value === "string") return message.string(4, value).int(20, ATTRIBUTE_TYPE.string);
  if ("graph" in value)
    return message.message(6, scopeMessage(value.graph, name, place)).int(20, ATTRIBUTE_TYPE.graph);
  if ("float" in value) return message.float(2, value.float).int(20, ATTRIBUTE_TYPE.float);
  for (const item of value) message.int(8, item);
  return message.int(20, ATTRIBUTE_TYPE.ints);
}

function tensorHead(name: string, type: ElementType, shape: readonly number[]): Message {
  const message = new Message();
  for (const size of shape) message.int(1, size);
  return message.int(2, ELEMENT_TYPE[type]).string(8, name);
}

/** With its bytes in the model file, made when their turn comes. */
function insideTensor({ name, shape, source, type }: ExternalWeight): Message {
  if ("sharedFile" in source) throw new TypeError(`${name} lies in ${source.sharedFile}`);
  return tensorHead(name, type, shape).lateBytes(9, source.length, source.bytes);
}

function externalTensor(
  { name, shape, type }: Omit<ExternalWeight, "source">,
  file: string,
  offset: number,
  length: number,
): Message {
  const entry = (key: string, value: string) => new Message().string(1, key).string(2, value);
  return tensorHead(name, type, shape)
    .message(13, entry("location", file))
    .message(13, entry("offset", String(offset)))
    .message(13, entry("length", String(length)))
    .int(14, 1); // data_location EXTERNAL
}

function valueInfo(name: string, type: ElementType, shape: readonly Dim[]): Message {
  const dims = new Message();
  for (const dim of shape)
    dims.message(1, typeof dim === "number" ? new Message().int(1, dim) : new Message().string(2, dim));
  const tensor = new Message().int(1, ELEMENT_TYPE[type]).message(2, dims);
  return new Message().string(1, name).message(2, new Message().message(1, tensor));
}
