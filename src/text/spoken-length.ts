// How long a text is when it is spoken, from its signs alone: a digit or a Chinese character takes as long as
// several letters. Pure.

/** Frames that a sign takes when it is read slowly; scripts tell more than a language that is "auto". */
const SLOWLY: readonly [RegExp, number][] = [
  [/\p{N}/gu, 12],
  [/\p{Script=Han}/gu, 9],
  [/[\p{Script=Hiragana}\p{Script=Katakana}]/gu, 6],
  [/\p{Script=Hangul}/gu, 7],
  [/(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}])\p{L}/gu, 3],
  [/[\p{P}\p{S}]/gu, 6],
];
const LETTER_FRAMES = 3;

/** The most frames that the signs of a text take. */
export const slowFrames = (text: string): number =>
  SLOWLY.reduce((sum, [sign, frames]) => sum + frames * (text.match(sign)?.length ?? 0), 0);

/**
 * The characters of a text, or the number of letters that take as long if that is more: what prompts are
 * limited by. In the ten languages of the official models 300 of them have at most about 115 tokens.
 */
export const spokenLength = (text: string): number =>
  Math.max(characters(text), slowFrames(text) / LETTER_FRAMES);

/** Code points: a surrogate pair counts once. */
const characters = (text: string) => text.length - (text.match(/[\ud800-\udbff]/g)?.length ?? 0);
