// The few protobuf wire types that ONNX needs: varint, 32-bit and length-delimited.

const VARINT = 0;
const LENGTH = 2;
const FIXED32 = 5;

/** A message under construction; fields are written in call order. */
export class Message {
  private readonly chunks: Uint8Array[] = [];

  int(field: number, value: number | bigint): this {
    this.chunks.push(varint((field << 3) | VARINT), varint(value));
    return this;
  }

  float(field: number, value: number): this {
    const chunk = Buffer.alloc(4);
    chunk.writeFloatLE(value);
    this.chunks.push(varint((field << 3) | FIXED32), chunk);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.chunks.push(varint((field << 3) | LENGTH), varint(value.length), value);
    return this;
  }

  string(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  message(field: number, value: Message): this {
    return this.bytes(field, value.encode());
  }

  encode(): Uint8Array {
    return Buffer.concat(this.chunks);
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
