// The frame in front of an MP3's sound, as LAME writes it: an Info tag (Xing's, for a constant rate) and
// behind it LAME's own fields. Decoders that know it do not play it. They leave out the encoder's delay and,
// where the length is known, what fills the last frame. Pure.

export interface InfoFrame {
  rateHz: number;
  kilobits: number;
  /** The samples that went in, and the bytes of all frames behind this one; null while that is not known. */
  sound: { samples: number; bytes: number } | null;
}

/** What LAME puts in front. Decoders add their own delay, which they know. */
const DELAY_SAMPLES = 576;
const ENCODER = "LAME3.100";
const CONSTANT_RATE = 1;
/** The tag has frames, bytes, a table of contents and a quality. */
const FIELDS = 15;
const CONTENTS = 100;
/** A size of 0 as well as no frames would make ffmpeg play the frame. */
const UNKNOWN = 0xffffffff;

/** [second byte of headers, samples of a frame, bytes of side information, kbit/s by their index] */
const MPEG_1 = [0xfb, 1152, 17, [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]] as const;
const MPEG_2 = [0xf3, 576, 9, [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]] as const;
const RATES_1: readonly number[] = [44_100, 48_000, 32_000];
const RATES_2: readonly number[] = [22_050, 24_000, 16_000];
/** One channel, an original, no emphasis. */
const MONO = 0xc4;

export function infoFrame({ kilobits, rateHz, sound }: InfoFrame): Uint8Array {
  const rates = RATES_1.includes(rateHz) ? RATES_1 : RATES_2;
  const [version, perFrame, sideBytes, bitRates] = rates === RATES_1 ? MPEG_1 : MPEG_2;
  const bytesPerFrame = (perFrame * kilobits * 125) / rateHz;
  const frame = Buffer.alloc(Math.floor(bytesPerFrame));
  const [rate, bits] = [rates.indexOf(rateHz), (bitRates as readonly number[]).indexOf(kilobits)];
  frame.set([0xff, version, (bits << 4) | (rate << 2), MONO]);
  const tag = 4 + sideBytes;
  frame.write("Info", tag, "latin1");
  frame.writeUInt32BE(FIELDS, tag + 4);
  const frames = sound === null ? 0 : Math.round(sound.bytes / bytesPerFrame);
  frame.writeUInt32BE(frames, tag + 8);
  const bytes = sound === null ? UNKNOWN : frame.length + sound.bytes;
  frame.writeUInt32BE(bytes, tag + 12);
  for (let i = 0; i < CONTENTS; i++) frame[tag + 16 + i] = Math.floor((256 * i) / CONTENTS);
  const lame = tag + 20 + CONTENTS;
  frame.write(ENCODER, lame, "latin1");
  frame[lame + 9] = CONSTANT_RATE;
  frame[lame + 20] = kilobits;
  const padding = sound === null ? 0 : frames * perFrame - sound.samples - DELAY_SAMPLES;
  frame.writeUIntBE((DELAY_SAMPLES << 12) | padding, lame + 21, 3);
  frame.writeUInt32BE(bytes, lame + 28);
  frame.writeUInt16BE(checksum(frame.subarray(0, lame + 34)), lame + 34);
  return frame;
}

/** CRC-16 of the polynomial 8005, lowest bit first. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ (sum & 1 ? 0xa001 : 0);
  }
  return sum;
}
