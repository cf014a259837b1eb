// Compares the words of a recording with its length. Where words are missing, a model that continues from the
// recording expects more of them, and may never stop speaking. Pure.

/**
 * What a sign counts, in letters of an alphabet: a Chinese character and a Korean block are syllables, a sign
 * of kana is a shorter one, and a digit is a word.
 */
const WEIGHTS: readonly [RegExp, number][] = [
  [/[\p{sc=Han}\p{sc=Hangul}\p{Nd}]/u, 3],
  [/[\p{sc=Hiragana}\p{sc=Katakana}]/u, 2],
  [/\p{L}/u, 1],
];
/** Ten languages read aloud: 11 to 16. */
const USUAL_PER_SECOND = 13;
/** Slow speech with its pauses has 7 or more. */
const LEAST_PER_SECOND = 5;
/** Before and after the words. */
const USUAL_SILENCE_SECONDS = 0.5;

/** What is wrong, with both lengths, or null. @param text "" is a voice without words */
export function missingWords(text: string, seconds: number): string | null {
  const weights = Array.from(text, (sign) => WEIGHTS.find(([kind]) => kind.test(sign))?.[1] ?? 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (text.trim() === "" || total >= LEAST_PER_SECOND * (seconds - USUAL_SILENCE_SECONDS)) return null;
  const count = weights.filter((weight) => weight > 0).length;
  const letters = `${count} ${count === 1 ? "letter" : "letters"}`;
  return `the text has ${letters}, about ${(total / USUAL_PER_SECOND).toFixed(1)} s of speech, but the recording has ${seconds.toFixed(1)} s: speech with this voice may never end`;
}
