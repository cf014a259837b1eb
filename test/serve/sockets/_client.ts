// A client of the three stages, written from the byte layout alone: plain sockets, and the tables of the
// bundle, which it reads by itself. Must not import anything of the program.

import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";

/** A connection that is read in counts of bytes. */
export class Wire {
  private bytes = Buffer.alloc(0);
  private over = false;
  private wake = () => {};

  private constructor(readonly socket: Socket) {
    socket.on("data", (chunk: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
      this.wake();
    });
    const end = () => {
      this.over = true;
      this.wake();
    };
    socket.on("end", end).on("close", end).on("error", end);
  }

  static open(path: string): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path, allowHalfOpen: true });
      socket.once("connect", () => resolve(new Wire(socket)));
      socket.once("error", reject);
    });
  }

  send(...parts: ArrayBufferView[]): void {
    this.socket.write(
      Buffer.concat(
        parts.map(({ buffer, byteLength, byteOffset }) => Buffer.from(buffer, byteOffset, byteLength)),
      ),
    );
  }

  /** The next `count` bytes. @throws Error when the server ended the connection before */
  async take(count: number): Promise<Buffer> {
    while (this.bytes.length < count) {
      if (this.over) throw new Error(`closed after ${this.bytes.length} of ${count} bytes`);
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    const taken = Buffer.from(this.bytes.subarray(0, count));
    this.bytes = this.bytes.subarray(count);
    return taken;
  }

  /** Everything that comes until the server ends the connection. */
  async rest(): Promise<Buffer> {
    while (!this.over) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return this.bytes;
  }

  close(): void {
    this.socket.destroy();
  }
}

/** The tables of a bundle from which a client forms the talker's next input. */
export class Tables {
  readonly hidden: number;
  private readonly pad: Float32Array;
  private readonly codes: Float32Array[];

  constructor(bundle: string) {
    const manifest = JSON.parse(readFileSync(join(bundle, "bundle.json"), "utf8"));
    this.hidden = manifest.shape.hidden;
    const file = readFileSync(join(bundle, "tables.safetensors"));
    const data = 8 + Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.toString("utf8", 8, data));
    const table = (name: string) => {
      const { dtype, data_offsets: range } = header[name];
      const { buffer } = new Uint8Array(file.subarray(data + range[0], data + range[1]));
      if (dtype === "F32") return new Float32Array(buffer);
      if (dtype === "F16") return Float32Array.from(new Float16Array(buffer));
      return new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bf16) => bf16 << 16).buffer);
    };
    const pad = manifest.prompt.text.ttsPad * this.hidden;
    this.pad = table("text").slice(pad, pad + this.hidden);
    this.codes = Array.from({ length: 16 }, (_, group) => table(`code.${group}`));
  }

  /** The complete next input: the sum of the 16 code embeddings and the row of tts_pad. */
  feedback(codes: readonly number[]): Float32Array {
    const sum = new Float32Array(this.hidden);
    codes.forEach((code, group) => {
      for (let i = 0; i < this.hidden; i++) sum[i] += this.codes[group][code * this.hidden + i];
    });
    for (let i = 0; i < this.hidden; i++) sum[i] += this.pad[i];
    return sum;
  }
}

/** A request to the vocoder. */
export const zeros = (frames: number) => [Int32Array.of(frames), new BigInt64Array(16 * frames)];
/** Frames of two minutes of sound, 5.8 MB: more than a socket holds. */
export const LONG_FRAMES = 1_500;

/** u32 length + JSON */
export function request(fields: Record<string, unknown>): Buffer {
  const json = Buffer.from(JSON.stringify(fields));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  return Buffer.concat([length, json]);
}

export type Frame = { code0: number; hidden: Buffer };

/** The talker's next frame, or -1 or -2. */
export async function nextFrame(talker: Wire, hidden: number): Promise<Frame | number> {
  const code0 = (await talker.take(4)).readInt32LE();
  return code0 < 0 ? code0 : { code0, hidden: await talker.take(4 * hidden) };
}

export async function predict(predictor: Wire, { code0, hidden }: Frame): Promise<number[]> {
  predictor.send(hidden, Int32Array.of(code0));
  const answer = await predictor.take(60);
  return [code0, ...Array.from({ length: 15 }, (_, i) => answer.readInt32LE(4 * i))];
}

/** i16 samples, as bytes. */
export async function decode(vocoder: Wire, frames: readonly number[][]): Promise<Buffer> {
  vocoder.send(Int32Array.of(frames.length), BigInt64Array.from(frames.flat(), BigInt));
  return vocoder.take(2 * (await vocoder.take(4)).readInt32LE());
}

export interface ClientOptions {
  /** Whether each frame gets its own connection to the predictor. */
  oneEach?: boolean;
  /** Called before each feedback. */
  onFrame?: (frame: number) => void | Promise<void>;
}

/** One sentence through talker and predictor: its frames of 16 codes. */
export async function converse(
  folder: string,
  tables: Tables,
  fields: Record<string, unknown>,
  { oneEach = false, onFrame = () => {} }: ClientOptions = {},
): Promise<number[][]> {
  const talker = await Wire.open(join(folder, "talker.sock"));
  const shared = oneEach ? null : await Wire.open(join(folder, "predictor.sock"));
  const frames: number[][] = [];
  try {
    talker.send(request(fields));
    for (;;) {
      const frame = await nextFrame(talker, tables.hidden);
      if (frame === -1) return frames;
      if (typeof frame === "number") throw new Error(`the talker says ${frame}`);
      const predictor = shared ?? (await Wire.open(join(folder, "predictor.sock")));
      const codes = await predict(predictor, frame);
      if (oneEach) predictor.close();
      frames.push(codes);
      await onFrame(frames.length);
      talker.send(tables.feedback(codes));
    }
  } finally {
    talker.close();
    shared?.close();
  }
}

export async function vocode(folder: string, frames: readonly number[][]): Promise<Buffer> {
  const vocoder = await Wire.open(join(folder, "vocoder.sock"));
  try {
    return await decode(vocoder, frames);
  } finally {
    vocoder.close();
  }
}
