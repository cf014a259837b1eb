// The scores of one attention head, from its query and its keys: plain arithmetic, the same for both talkers.

/**
 * target[i] = query · keys[from + i] / sqrt(width).
 * @param query f32, `width` numbers from `at` on
 * @param keys f32 [positions, width], from `base` on
 */
export function headScores(
  query: Float32Array,
  at: number,
  keys: Float32Array,
  base: number,
  width: number,
  from: number,
  count: number,
  target: Float32Array,
): void {
  const scale = 1 / Math.sqrt(width);
  for (let i = 0; i < count; i++) {
    const key = base + (from + i) * width;
    let sum = 0;
    for (let d = 0; d < width; d++) sum += query[at + d] * keys[key + d];
    target[i] = sum * scale;
  }
}
