// Recordings in RIFF/WAVE files and their 64-bit forms RF64 and BW64: finds the format and the sound among
// the chunks, checks them, and puts them into the plain file that the decoder reads. Pure.

import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";

export interface PlainWav {
  /** RIFF with a format and a data chunk, whose size is right. */
  bytes: Uint8Array;
  heldSeconds: number;
  /** The length that the header promises, where less is there; else null. */
  promisedSeconds: number | null;
}

const HEADER_BYTES = 12;
const CHUNK_HEADER_BYTES = 8;
const FORMAT_BYTES = 16;
const EXTENSIBLE_BYTES = 40;
/** Format tags. The extensible form carries the real one at {@link SUBFORMAT}. */
const TAG = { pcm: 1, msAdpcm: 2, float: 3, aLaw: 6, muLaw: 7, imaAdpcm: 0x11, extensible: 0xfffe } as const;
const SUBFORMAT = 24;
const ADPCM: readonly number[] = [TAG.msAdpcm, TAG.imaAdpcm];
const KNOWN_BITS: Readonly<Record<number, readonly number[]>> = {
  [TAG.pcm]: [8, 16, 24, 32],
  [TAG.float]: [32, 64],
  [TAG.aLaw]: [8],
  [TAG.muLaw]: [8],
};
/** The size in 32 bits where ds64 has the real one, or where it was not known when the header was written. */
const UNKNOWN = 0xffffffff;
/** Programs that write to a pipe put 0 or a size from here on into the header: 2 or 4 GB less some bytes. */
const STREAMED_FROM = 0x7fff0000;

/** Whether a file begins as one of these, whatever follows. */
export const isWave = (file: Uint8Array) => /^(RIFF|RF64|BW64)....WAVE/s.test(latin1(file, 0, HEADER_BYTES));

const latin1 = (file: Uint8Array, at: number, count: number) =>
  String.fromCharCode(...file.subarray(at, at + count));

/**
 * @param name of the file, for errors
 * @throws TtsError INPUT_UNREADABLE naming the field that is wrong, with its value
 */
export function plainWav(file: Uint8Array, name: string): PlainWav {
  const { format, data } = findChunks(file);
  if (data === null) throw unreadable(`${name} holds no sound: it has no data chunk`);
  if (format === null || format.length < FORMAT_BYTES)
    throw unreadable(
      `${name} cannot be decoded: its format chunk is ${format === null ? "missing" : "cut short"}`,
    );
  const { bytesPerSecond, fields } = readFormat(format, name);
  const there = file.length - data.at;
  const bytes = isStreamed(data.size) ? streamedBytes(file, data) : Math.min(data.size, there);
  const isWhole = isStreamed(data.size) || data.size <= there;
  const promisedSeconds = isWhole ? null : data.size / bytesPerSecond;
  const plain = assemble(fields, file.subarray(data.at, data.at + bytes));
  return { bytes: plain, heldSeconds: bytes / bytesPerSecond, promisedSeconds };
}

interface Data {
  at: number;
  /** As the header has it. */
  size: number;
}

/** The first format chunk and the first data chunk, in either order. */
function findChunks(file: Uint8Array): { format: Uint8Array | null; data: Data | null } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let format: Uint8Array | null = null;
  let data: Data | null = null;
  let size64: number | null = null;
  for (
    let at = HEADER_BYTES;
    at + CHUNK_HEADER_BYTES <= file.length && (format === null || data === null);
  ) {
    const id = latin1(file, at, 4);
    let size = view.getUint32(at + 4, true);
    const body = at + CHUNK_HEADER_BYTES;
    if (id === "ds64" && body + 16 <= file.length) size64 = Number(view.getBigUint64(body + 8, true));
    if (id === "data" && size === UNKNOWN && size64 !== null) size = size64;
    if (id === "fmt ") format ??= file.subarray(body, body + size);
    if (id === "data") data ??= { at: body, size };
    at = chunkAfter(file, body + size, size % 2 === 1);
  }
  return { format, data };
}

/**
 * Where the next chunk begins. A chunk of odd length is followed by a pad byte, which some programs forget.
 */
function chunkAfter(file: Uint8Array, end: number, isOdd: boolean): number {
  if (!isOdd || !beginsChunk(file, end)) return isOdd ? end + 1 : end;
  const isOurs = ["fmt ", "data"].includes(latin1(file, end, 4));
  return isOurs || !beginsChunk(file, end + 1) ? end : end + 1;
}

const beginsChunk = (file: Uint8Array, at: number) => /^[ -~]{4}$/.test(latin1(file, at, 4));

const isStreamed = (size: number) =>
  size === 0 || (size >= STREAMED_FROM && size <= UNKNOWN) || size > Number.MAX_SAFE_INTEGER;

/** All that follows; but nothing behind a size of 0 where only whole chunks follow. */
function streamedBytes(file: Uint8Array, { at, size }: Data): number {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (size !== 0) return file.length - at;
  let next = at;
  while (next + CHUNK_HEADER_BYTES <= file.length && beginsChunk(file, next)) {
    const length = view.getUint32(next + 4, true);
    next = chunkAfter(file, next + CHUNK_HEADER_BYTES + length, length % 2 === 1);
  }
  const isChunks = next === file.length || next === file.length + 1; // the last pad byte may be missing
  return isChunks ? 0 : file.length - at;
}

/** The checked fields of a format chunk, for a plain one. */
function readFormat(format: Uint8Array, name: string): { fields: Uint8Array; bytesPerSecond: number } {
  const view = new DataView(format.buffer, format.byteOffset, format.byteLength);
  const fail = (what: string) => unreadable(`${name} cannot be decoded: ${what}`);
  let tag = view.getUint16(0, true);
  if (tag === TAG.extensible) {
    if (format.length < EXTENSIBLE_BYTES) throw fail("its extensible format chunk is cut short");
    tag = view.getUint16(SUBFORMAT, true);
  }
  const [channels, rate] = [view.getUint16(2, true), view.getUint32(4, true)];
  const [block, bits] = [view.getUint16(12, true), view.getUint16(14, true)];
  if (channels === 0) throw fail("its header says 0 channels");
  assertRate(rate, name);
  if (ADPCM.includes(tag)) {
    if (block === 0) throw fail("its header says 0 bytes for a block");
    return { fields: format, bytesPerSecond: view.getUint32(8, true) || rate };
  }
  const known = KNOWN_BITS[tag];
  if (known === undefined) throw fail(`its sound has the form 0x${tag.toString(16)}`);
  if (!known.includes(bits)) {
    const kind = tag === TAG.float ? "floats" : "samples";
    throw fail(`its sound is ${bits}-bit ${kind}${tag === TAG.float && bits === 16 ? " (half floats)" : ""}`);
  }
  if (block !== (channels * bits) / 8) {
    const frame = `${channels} ${channels === 1 ? "channel" : "channels"} of ${bits} bits`;
    throw fail(`its header says ${block} bytes for ${frame}`);
  }
  const fields = Uint8Array.from(format.subarray(0, FORMAT_BYTES));
  new DataView(fields.buffer).setUint16(0, tag, true);
  return { fields, bytesPerSecond: rate * block };
}

/** @throws TtsError INPUT_UNREADABLE for a rate that nothing records with */
export function assertRate(hz: number, name: string): void {
  const { recordingLeastHz: least, recordingMostHz: most } = LIMITS;
  if (hz >= least && hz <= most) return;
  throw unreadable(`${name} cannot be decoded: its sample rate is ${hz} Hz, not ${least} to ${most}`);
}

const unreadable = (what: string) =>
  new TtsError("INPUT_UNREADABLE", what, "export it again as a 16-bit wav");

function assemble(format: Uint8Array, data: Uint8Array): Uint8Array {
  const padded = format.length + (format.length % 2);
  const file = new Uint8Array(HEADER_BYTES + 2 * CHUNK_HEADER_BYTES + padded + data.length);
  const view = new DataView(file.buffer);
  const text = (at: number, id: string) => file.set(Buffer.from(id, "latin1"), at);
  text(0, "RIFF");
  view.setUint32(4, file.length - CHUNK_HEADER_BYTES, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, padded, true);
  file.set(format, 20);
  text(20 + padded, "data");
  view.setUint32(24 + padded, data.length, true);
  file.set(data, 28 + padded);
  return file;
}
