// A small ONNX graph builder. Values are names; every op gives one value (or several, by ops). Large weights become external data:
// copied into NAME.data, or left where they are in a checkpoint file that is linked beside the model.

import { closeSync, openSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { type Tensor, toFloat32 } from "../../safetensors.ts";
import { asBytes, writeAll } from "../bytes.ts";
import { Message } from "./_protobuf.ts";

const ELEMENT_TYPE = { f32: 1, i32: 6, i64: 7 } as const;
export type ElementType = keyof typeof ELEMENT_TYPE;
type Attribute = number | string | number[] | { float: number };
type Dim = number | string;

const IR_VERSION = 9;
const OPSET = 20; // the first with Gelu
/** Smaller weights stand inside the model file. */
const EXTERNAL_FROM_BYTES = 1024;
const ALIGNMENT = 64;
/** "To the end" for Slice. */
export const END = 2 ** 31 - 1;

/** Where a weight's bytes come from when the model is saved. */
interface ExternalWeight {
  name: string;
  shape: readonly number[];
  source: { bytes: () => Uint8Array; length: number } | { sharedFile: string; offset: number; length: number };
}

export interface GraphOptions {
  name: string;
  /** Checkpoint file -> name of its link beside the model. F32 tensors of such a file are not copied. */
  shared?: Readonly<Record<string, string>>;
}

export class Graph {
  private readonly nodes: Message[] = [];
  private readonly inline: Message[] = [];
  private readonly external: ExternalWeight[] = [];
  private readonly inputs: Message[] = [];
  private readonly outputs: Message[] = [];
  private readonly known = new Map<string, string>();
  private counter = 0;
  /** Checkpoint files that weights were left in. */
  readonly usedShared = new Set<string>();

  constructor(private readonly options: GraphOptions) {}

  input(name: string, type: ElementType, shape: readonly Dim[]): string {
    this.inputs.push(valueInfo(name, type, shape));
    return name;
  }

  /** Gives `value` the public name `name`. */
  output(name: string, value: string, type: ElementType, shape: readonly Dim[]): void {
    this.nodes.push(node("Identity", [value], [name], {}));
    this.outputs.push(valueInfo(name, type, shape));
  }

  op(type: string, inputs: string[], attributes: Record<string, Attribute> = {}): string {
    return this.ops(type, 1, inputs, attributes)[0];
  }

  ops(type: string, count: number, inputs: string[], attributes: Record<string, Attribute> = {}): string[] {
    const outputs = Array.from({ length: count }, () => `${type}_${this.counter++}`);
    this.nodes.push(node(type, inputs, outputs, attributes));
    return outputs;
  }

  /** A small integer vector (or scalar, with shape []). */
  ints(values: readonly number[], shape: readonly number[] = [values.length]): string {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.remember(`i64:${shape}:${values}`, () => this.inlineTensor("i64", shape, bytes));
  }

  float(value: number): string {
    return this.remember(`f32:${value}`, () => this.inlineTensor("f32", [], new Uint8Array(Float32Array.of(value).buffer)));
  }

  /** Computed values, f32. */
  values(values: Float32Array, shape: readonly number[]): string {
    return this.weight(shape, { bytes: () => asBytes(values), length: values.byteLength });
  }

  /** A tensor of the checkpoint as f32, optionally under another shape of the same elements. */
  tensor(tensor: Tensor, shape: readonly number[] = tensor.shape): string {
    return this.remember(`tensor:${tensor.file}:${tensor.name}:${shape}`, () => {
      const link = this.options.shared?.[tensor.file];
      const length = 4 * shape.reduce((product, size) => product * size, 1);
      if (link !== undefined && tensor.dtype === "F32" && length >= EXTERNAL_FROM_BYTES) {
        this.usedShared.add(tensor.file);
        return this.weight(shape, { sharedFile: link, offset: tensor.offset, length });
      }
      return this.weight(shape, { bytes: () => asBytes(toFloat32(tensor)), length });
    });
  }

  private weight(shape: readonly number[], source: ExternalWeight["source"]): string {
    if ("bytes" in source && source.length < EXTERNAL_FROM_BYTES) return this.inlineTensor("f32", shape, source.bytes());
    const name = `weight_${this.counter++}`;
    this.external.push({ name, shape, source });
    return name;
  }

  private inlineTensor(type: ElementType, shape: readonly number[], bytes: Uint8Array): string {
    const name = `constant_${this.counter++}`;
    this.inline.push(tensorHead(name, type, shape).bytes(9, bytes.slice()));
    return name;
  }

  private remember(key: string, make: () => string): string {
    const value = this.known.get(key) ?? make();
    this.known.set(key, value);
    return value;
  }

  /** Writes the model and `PATH.data`, which holds its large weights (none: an empty file). */
  save(path: string): void {
    const data = `${path}.data`;
    const initializers = [...this.inline];
    const file = openSync(data, "wx");
    try {
      let at = 0;
      for (const { name, shape, source } of this.external) {
        if ("sharedFile" in source) {
          initializers.push(externalTensor(name, shape, source.sharedFile, source.offset, source.length));
          continue;
        }
        initializers.push(externalTensor(name, shape, basename(data), at, source.length));
        const padding = (ALIGNMENT - (source.length % ALIGNMENT)) % ALIGNMENT;
        writeAll(file, source.bytes());
        writeAll(file, new Uint8Array(padding));
        at += source.length + padding;
      }
    } finally {
      closeSync(file);
    }
    writeFileSync(path, this.model(initializers), { flag: "wx" });
  }

  /** The model as bytes; only for graphs whose weights are all inline. */
  encode(): Uint8Array {
    if (this.external.length > 0) throw new TypeError("this graph has external weights: save() it");
    return this.model(this.inline);
  }

  private model(initializers: readonly Message[]): Uint8Array {
    const graph = new Message();
    for (const item of this.nodes) graph.message(1, item);
    graph.string(2, this.options.name);
    for (const item of initializers) graph.message(5, item);
    for (const item of this.inputs) graph.message(11, item);
    for (const item of this.outputs) graph.message(12, item);
    const opset = new Message().string(1, "").int(2, OPSET);
    return new Message().int(1, IR_VERSION).string(2, "qwen3-tts-edge").message(7, graph).message(8, opset).encode();
  }
}

function node(type: string, inputs: readonly string[], outputs: readonly string[], attributes: Record<string, Attribute>): Message {
  const message = new Message();
  for (const name of inputs) message.string(1, name);
  for (const name of outputs) message.string(2, name);
  message.string(4, type);
  for (const [name, value] of Object.entries(attributes)) message.message(5, attribute(name, value));
  return message;
}

const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, ints: 7 } as const;

function attribute(name: string, value: Attribute): Message {
  const message = new Message().string(1, name);
  if (typeof value === "number") return message.int(3, value).int(20, ATTRIBUTE_TYPE.int);
  if (typeof value === "string") return message.string(4, value).int(20, ATTRIBUTE_TYPE.string);
  if (!Array.isArray(value)) return message.float(2, value.float).int(20, ATTRIBUTE_TYPE.float);
  for (const item of value) message.int(8, item);
  return message.int(20, ATTRIBUTE_TYPE.ints);
}

function tensorHead(name: string, type: ElementType, shape: readonly number[]): Message {
  const message = new Message();
  for (const size of shape) message.int(1, size);
  return message.int(2, ELEMENT_TYPE[type]).string(8, name);
}

function externalTensor(name: string, shape: readonly number[], file: string, offset: number, length: number): Message {
  const entry = (key: string, value: string) => new Message().string(1, key).string(2, value);
  return tensorHead(name, "f32", shape)
    .message(13, entry("location", file))
    .message(13, entry("offset", String(offset)))
    .message(13, entry("length", String(length)))
    .int(14, 1); // data_location EXTERNAL
}

function valueInfo(name: string, type: ElementType, shape: readonly Dim[]): Message {
  const dims = new Message();
  for (const dim of shape) dims.message(1, typeof dim === "number" ? new Message().int(1, dim) : new Message().string(2, dim));
  const tensor = new Message().int(1, ELEMENT_TYPE[type]).message(2, dims);
  return new Message().string(1, name).message(2, new Message().message(1, tensor));
}
