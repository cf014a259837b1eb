// Writes the few protobuf wire types that ONNX needs: varint, 32-bit and length-delimited.

const VARINT = 0;
const LENGTH = 2;
const FIXED32 = 5;

/** Bytes that are made only when they are written. */
interface LateBytes {
  length: number;
  make: () => Uint8Array;
}

/** A message under construction. Fields are written in call order. */
export class Message {
  private readonly parts: (Uint8Array | LateBytes)[] = [];

  int(field: number, value: number | bigint): this {
    this.parts.push(varint((field << 3) | VARINT), varint(value));
    return this;
  }

  float(field: number, value: number): this {
    const chunk = Buffer.alloc(4);
    chunk.writeFloatLE(value);
    this.parts.push(varint((field << 3) | FIXED32), chunk);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.parts.push(varint((field << 3) | LENGTH), varint(value.length), value);
    return this;
  }

  string(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  /** Like {@link bytes}, but made when their turn comes, so that large ones need not all be in memory. */
  lateBytes(field: number, length: number, make: () => Uint8Array): this {
    this.parts.push(varint((field << 3) | LENGTH), varint(length), { length, make });
    return this;
  }

  message(field: number, value: Message): this {
    this.parts.push(varint((field << 3) | LENGTH), varint(value.length), ...value.parts);
    return this;
  }

  private get length(): number {
    return this.parts.reduce((sum, { length }) => sum + length, 0);
  }

  encode(): Uint8Array {
    return Buffer.concat([...this.chunks()]);
  }

  /** All bytes in order. */
  *chunks(): Iterable<Uint8Array> {
    for (const part of this.parts) yield part instanceof Uint8Array ? part : part.make();
  }
}

/** Negative numbers travel as 64-bit two's complement. */
function varint(value: number | bigint): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value));
  const out: number[] = [];
  while (rest > 127n) {
    out.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Uint8Array.from(out);
}
