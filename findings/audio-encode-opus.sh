#!/bin/sh
# @audio/encode-opus 1.2.2 writes Ogg Opus files that lose the start and the end of the sound. It states a pre-skip
# of 3840 samples (80 ms), but its encoder delays the sound by 312 only, so decoders leave out 73.5 ms of the sound
# itself. The last granule position does not count the pre-skip, and what the encoder holds back is not flushed.
# A sound that comes in pieces is resampled piece by piece, with an edge at each joint. Whoever needs exact lengths
# must state the encoder's own look-ahead and the true end.
#
# Seen: @audio/encode-opus 1.2.2, opusscript 0.1.1, libopus-wasm 0.4.0 to decode, node 20, 2026-11-29:
#   pre-skip 3840, the encoder's delay 312: decoders leave out 3528 samples of the sound
#   of 48000 samples 44160 come out
#   at 24 kHz in pieces of 1920, 47 of 100 packets differ from those of the whole sound
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund @audio/encode-opus@1.2.2 opusscript@0.1.1 libopus-wasm@0.4.0
cat > try.mjs <<'JS'
import opus from "@audio/encode-opus";
import { createDecoder } from "libopus-wasm";

const LENGTH = 48_000;
let seed = 1;
let low = 0;
const sound = Float32Array.from({ length: LENGTH }, () => {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
  low += 0.1 * (seed / 0x7fffffff - 0.5 - low);
  return 2 * low;
});

async function encoded(rate, step) {
  const encoder = await opus({ sampleRate: rate, channels: 1, bitrate: 96 });
  const parts = [];
  for (let from = 0; from < LENGTH; from += step)
    parts.push(Buffer.from(await encoder.encode([sound.subarray(from, from + step)])));
  parts.push(Buffer.from(await encoder.flush()));
  encoder.free();
  return Buffer.concat(parts);
}

/** The packets behind the two headers, and the last granule position. */
function packetsOf(file) {
  const packets = [];
  let granule = 0;
  for (let at = 0, page = 0; at < file.length; page++) {
    const segments = [...file.subarray(at + 27, at + 27 + file[at + 26])];
    granule = Number(file.readBigInt64LE(at + 6));
    at += 27 + segments.length;
    const length = segments.reduce((sum, segment) => sum + segment, 0);
    if (page > 1 && length > 0) packets.push(file.subarray(at, at + length));
    at += length;
  }
  return { packets, granule };
}

const file = await encoded(48_000, LENGTH);
const preSkip = file.readUInt16LE(file.indexOf("OpusHead") + 10);
const { granule, packets } = packetsOf(file);
const decoder = await createDecoder({ channels: 1, sampleRate: 48_000 });
const heard = Float32Array.from(packets.flatMap((packet) => [...decoder.decodeFloat(packet)]));
const alike = (delay) => {
  let sum = 0;
  for (let i = 9_600; i < 33_600; i++) sum += sound[i] * heard[i + delay];
  return sum;
};
const delays = Array.from({ length: 5_000 }, (_, delay) => alike(delay));
const delay = delays.indexOf(Math.max(...delays));
const whole = packetsOf(await encoded(24_000, LENGTH)).packets;
const pieces = packetsOf(await encoded(24_000, 1_920)).packets;
const differ = whole.filter((packet, i) => !packet.equals(pieces[i] ?? Buffer.alloc(0))).length;
console.log(`pre-skip ${preSkip}, the encoder's delay ${delay}: decoders leave out ${preSkip - delay} samples of the sound`);
console.log(`of ${LENGTH} samples ${granule - preSkip} come out`);
console.log(`at 24 kHz in pieces of 1920, ${differ} of ${whole.length} packets differ from those of the whole sound`);
process.exit(preSkip - delay > 3_000 && granule - preSkip !== LENGTH && differ > 0 ? 0 : 1);
JS
node try.mjs
