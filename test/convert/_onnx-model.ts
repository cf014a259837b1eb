// Reads back what src/formats/onnx.ts writes: operators with their attributes, constants, and the declared
// shapes of inputs and outputs.

export interface OnnxNode {
  name: string;
  type: string;
  domain: string;
  inputs: string[];
  outputs: string[];
  /** Whole numbers and lists of them; NaN for any other attribute. */
  attributes: Record<string, number | number[]>;
}

export interface OnnxValue {
  name: string;
  /** 1 f32, 7 i64 */
  type: number;
  /** -1 where the model has a name instead of a number */
  shape: number[];
}

export interface OnnxModel {
  opset: Record<string, number>;
  nodes: OnnxNode[];
  constants: Map<string, OnnxValue>;
  inputs: OnnxValue[];
  outputs: OnnxValue[];
}

interface Field {
  number: number;
  value: number;
  bytes: Uint8Array;
}

/** Wire types 0 (varint), 2 (length-delimited) and 5 (32 bits). */
function* fields(bytes: Uint8Array): Iterable<Field> {
  let at = 0;
  const varint = () => {
    for (let [value, scale] = [0, 1]; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [number, wire] = [key >>> 3, key & 7];
    const [value, length] = wire === 0 ? [varint(), 0] : [0, wire === 2 ? varint() : 4];
    yield { number, value, bytes: bytes.subarray(at, at + length) };
    at += length;
  }
}

const all = (bytes: Uint8Array, number: number) =>
  [...fields(bytes)].filter((field) => field.number === number);
const texts = (bytes: Uint8Array, number: number) =>
  all(bytes, number).map((field) => Buffer.from(field.bytes).toString());
const numbers = (bytes: Uint8Array, number: number) => all(bytes, number).map(({ value }) => value);
const messages = (bytes: Uint8Array, number: number) => all(bytes, number).map((field) => field.bytes);

function readValue(bytes: Uint8Array): OnnxValue {
  const [tensor] = messages(messages(bytes, 2)[0], 1);
  const dims = messages(messages(tensor, 2)[0], 1);
  return {
    name: texts(bytes, 1)[0],
    type: numbers(tensor, 1)[0],
    shape: dims.map((dim) => numbers(dim, 1)[0] ?? -1),
  };
}

function readNode(bytes: Uint8Array): OnnxNode {
  const attributes = messages(bytes, 5).map((attribute) => {
    const list = numbers(attribute, 8);
    return [texts(attribute, 1)[0], list.length > 0 ? list : (numbers(attribute, 3)[0] ?? Number.NaN)];
  });
  const [[name = ""], [type], [domain = ""]] = [texts(bytes, 3), texts(bytes, 4), texts(bytes, 7)];
  return {
    name,
    type,
    domain,
    inputs: texts(bytes, 1),
    outputs: texts(bytes, 2),
    attributes: Object.fromEntries(attributes),
  };
}

export function readOnnx(bytes: Uint8Array): OnnxModel {
  const [graph] = messages(bytes, 7);
  const constants = messages(graph, 5).map((tensor): [string, OnnxValue] => {
    const [name] = texts(tensor, 8);
    return [name, { name, type: numbers(tensor, 2)[0], shape: numbers(tensor, 1) }];
  });
  return {
    opset: Object.fromEntries(messages(bytes, 8).map((entry) => [texts(entry, 1)[0], numbers(entry, 2)[0]])),
    nodes: messages(graph, 1).map(readNode),
    constants: new Map(constants),
    inputs: messages(graph, 11).map(readValue),
    outputs: messages(graph, 12).map(readValue),
  };
}
