// Builds wav files chunk by chunk, right ones and wrong ones.

export type Chunk = Uint8Array;

/** 0.2 s at 24 kHz. */
export const SAMPLES = Int16Array.from({ length: 4_800 }, (_, i) => Math.round(20_000 * Math.sin(i / 9)));
export const s16 = new Uint8Array(SAMPLES.buffer);

/** With its pad byte, if it needs one. */
export function chunk(id: string, content: Uint8Array): Chunk {
  const bytes = Buffer.alloc(8 + content.length + (content.length % 2));
  bytes.write(id, "latin1");
  bytes.writeUInt32LE(content.length, 4);
  bytes.set(content, 8);
  return bytes;
}

/** @param more what follows the 16 bytes of a plain format */
export function formatChunk({
  tag = 1,
  channels = 1,
  rate = 24_000,
  bits = 16,
  block = 2,
  extensible = false,
  more = Buffer.alloc(0),
}): Chunk {
  const format = Buffer.alloc(16);
  format.writeUInt16LE(extensible ? 0xfffe : tag, 0);
  format.writeUInt16LE(channels, 2);
  format.writeUInt32LE(rate, 4);
  format.writeUInt32LE(Math.min(rate * block, 0xffffffff), 8);
  format.writeUInt16LE(block, 12);
  format.writeUInt16LE(bits, 14);
  if (!extensible) return chunk("fmt ", Buffer.concat([format, more]));
  const extension = Buffer.from("16000000000000000000000000001000800000aa00389b71", "hex");
  extension.writeUInt16LE(bits, 2);
  extension.writeUInt16LE(tag, 8);
  return chunk("fmt ", Buffer.concat([format, extension]));
}

export function assembleWav(chunks: readonly Chunk[], form = "RIFF"): Buffer {
  const body = Buffer.concat(chunks);
  const header = Buffer.from(`${form}....WAVE`, "latin1");
  header.writeUInt32LE(form === "RIFF" ? 4 + body.length : 0xffffffff, 4);
  return Buffer.concat([header, body]);
}
