// Samples as 16-bit integers, little endian. Pure.

/** Within [-1, 1]; NaN becomes silence. */
export const clipped = (sample: number): number => Math.max(-1, Math.min(1, sample)) || 0;

/** What a sample is as an integer of 16 bits. */
export const toS16 = (sample: number): number => Math.round(clipped(sample) * 32767);

/** Clips to [-1, 1] and scales by 32767; NaN becomes silence. */
export function toS16le(samples: Float32Array): Uint8Array {
  const out = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) out[i] = toS16(samples[i]);
  return new Uint8Array(out.buffer);
}

/** The samples whose bytes {@link toS16le} gave. */
export function fromS16le(bytes: Buffer): Float32Array {
  const samples = new Float32Array(bytes.length / 2);
  for (let i = 0; i < samples.length; i++) samples[i] = bytes.readInt16LE(2 * i) / 32767;
  return samples;
}
