// Samples as 16-bit integers, little endian. Pure.

/** Clips to [-1, 1] and scales by 32767; NaN becomes silence. */
export function toS16le(samples: Float32Array): Uint8Array {
  const out = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) out[i] = Math.round(Math.max(-1, Math.min(1, samples[i])) * 32767);
  return new Uint8Array(out.buffer);
}
