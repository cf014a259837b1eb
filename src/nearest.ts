// The name a mistyped one was probably meant to be.

/**
 * The candidate with the fewest edits, whatever the case, or null where none is close.
 * @param most edits; by default up to a third of the letters may be wrong, and always one
 */
export function nearest(
  name: string,
  candidates: readonly string[],
  most = Math.max(1, Math.floor(name.length / 3)),
): string | null {
  let best: string | null = null;
  let fewest = most + 1;
  for (const candidate of candidates) {
    const edits = distance(name.toLowerCase(), candidate.toLowerCase(), most);
    if (edits < fewest) [best, fewest] = [candidate, edits];
  }
  return best;
}

/**
 * Edits from one to the other; two swapped neighbours count as one. Anything above `most` may be reported as
 * `most + 1`.
 */
function distance(a: string, b: string, most: number): number {
  if (Math.abs(a.length - b.length) > most) return most + 1;
  const rows = [Array.from({ length: b.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= a.length; i++) {
    const [row, previous] = [[i], rows[i - 1]];
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}
