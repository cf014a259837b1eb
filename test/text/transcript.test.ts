// The words of a recording against its length, in all ten languages.

import { expect, test } from "bun:test";
import { missingWords } from "../../src/text/transcript.ts";

/** [text, seconds that it takes when it is read aloud slowly] */
const WHOLE: [text: string, seconds: number][] = [
  ["The kettle is ready, and dinner is at seven thirty.", 5],
  ["Das Wasser kocht, und um halb acht gibt es Abendessen.", 5],
  ["L'eau bout, et le dîner est à sept heures et demie.", 5],
  ["El agua hierve y la cena es a las siete y media.", 5],
  ["L'acqua bolle e la cena è alle sette e mezza.", 5],
  ["A água ferve e o jantar é às sete e meia.", 5],
  ["Чайник готов, ужин в половине восьмого.", 5],
  ["水开了,晚饭七点半开始。", 4],
  ["お湯が沸きました。夕食は七時半です。", 5],
  ["ヤカンのお湯がわきました", 4],
  ["물이 끓었어요. 저녁은 일곱 시 반이에요.", 5],
  ["555 123 4567", 5],
  ["e\u0301te\u0301", 0.8], // accents are no letters of their own
  ["", 30], // a voice without words
  ["  ", 30],
];
test.each(WHOLE)("%p fits %p s, but not a recording ten times as long", (text, seconds) => {
  expect(missingWords(text, seconds)).toBeNull();
  if (text.trim() !== "") expect(missingWords(text, 10 * seconds)).not.toBeNull();
});

test("both lengths are said", () => {
  expect(missingWords("Hello.", 8)).toBe(
    "the text has 5 letters, about 0.4 s of speech, but the recording has 8.0 s: speech with this voice may never end",
  );
  expect(missingWords("好", 3)).toStartWith(
    "the text has 1 letter, about 0.2 s of speech, but the recording has 3.0 s",
  );
  expect(missingWords("...", 3)).toStartWith("the text has 0 letters, about 0.0 s");
});
