// Whole numbers in a range: the one test, and the one error for a user's number outside it.

import { TtsError } from "./errors.ts";

/** Whether a value of any kind is a whole number between two bounds, both included. */
export const isWhole = (value: unknown, least: number, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;

/**
 * @param name the number's name as the user knows it: an option, or words
 * @throws TtsError USAGE
 */
export function assertWhole(name: string, value: number, least: number, most: number): void {
  if (!isWhole(value, least, most))
    throw new TtsError("USAGE", `${name} is ${value}`, `give a whole number from ${least} to ${most}`);
}
