// Checks codes from files, clients and other programs, because native code takes them as row numbers.

import { TtsError } from "../errors.ts";
import { isWhole } from "../ranges.ts";
import { CODES_PER_FRAME } from "../types.ts";

/** Whether a value of a JSON file is one frame of a codebook of `size`: a list of 16 codes. */
export const isFrame = (value: unknown, size: number): value is number[] =>
  Array.isArray(value) &&
  value.length === CODES_PER_FRAME &&
  value.every((code) => isWhole(code, 0, size - 1));

/**
 * Checks codes in frame order; i64 codes before they are narrowed.
 * @param first the place of the first code, where these are a piece of a longer list
 * @param hint what the user may do about a wrong code
 * @throws TtsError CODES_INVALID naming frame, code, value and limit
 */
export function assertCodes(
  codes: Int32Array | BigInt64Array,
  size: number,
  { first = 0, hint = "" } = {},
): void {
  for (let i = 0; i < codes.length; i++) {
    if (codes[i] >= 0 && codes[i] < size) continue;
    const [frame, code] = [Math.floor((first + i) / CODES_PER_FRAME), (first + i) % CODES_PER_FRAME];
    throw new TtsError(
      "CODES_INVALID",
      `frame ${frame}, code ${code} is ${codes[i]}, this model's codes are 0 to ${size - 1}`,
      hint,
    );
  }
}
