import { expect, test } from "bun:test";
import { LIMITS } from "../../src/limits.ts";
import { split } from "../../src/text/split.ts";
import { slowFrames, spokenLength } from "../../src/text/spoken-length.ts";

/** Tokens that the tokenizer of Qwen3 (151,643 pieces) makes of each text. */
const TOKENS: readonly [language: string, tokens: number, text: string][] = [
  [
    "english",
    42,
    "Please remember that the meeting about next year's budget begins at half past nine, and bring the figures that we discussed on Tuesday with you, because the board will ask about every single one of them before lunch.",
  ],
  [
    "german",
    62,
    "Bitte denken Sie daran, dass die Besprechung über den Haushalt des nächsten Jahres um halb zehn beginnt, und bringen Sie die Zahlen mit, die wir am Dienstag besprochen haben, weil der Vorstand vor dem Mittagessen danach fragen wird.",
  ],
  [
    "french",
    64,
    "N'oubliez pas que la réunion sur le budget de l'année prochaine commence à neuf heures et demie, et apportez les chiffres dont nous avons parlé mardi, car le conseil posera des questions sur chacun d'eux avant le déjeuner.",
  ],
  [
    "spanish",
    56,
    "Recuerde que la reunión sobre el presupuesto del próximo año empieza a las nueve y media, y traiga las cifras de las que hablamos el martes, porque la junta preguntará por todas ellas antes del almuerzo.",
  ],
  [
    "italian",
    64,
    "Ricordi che la riunione sul bilancio dell'anno prossimo comincia alle nove e mezza, e porti le cifre di cui abbiamo parlato martedì, perché il consiglio chiederà di ognuna di esse prima di pranzo.",
  ],
  [
    "portuguese",
    56,
    "Lembre-se de que a reunião sobre o orçamento do próximo ano começa às nove e meia, e traga os números de que falámos na terça-feira, porque o conselho perguntará por todos eles antes do almoço.",
  ],
  [
    "russian",
    67,
    "Пожалуйста, не забудьте, что совещание о бюджете следующего года начинается в половине десятого, и возьмите с собой цифры, о которых мы говорили во вторник, потому что правление спросит о каждой из них до обеда.",
  ],
  [
    "chinese",
    47,
    "请记住，关于明年预算的会议将于九点半开始，请带上我们星期二讨论过的数字，因为董事会在午餐之前会逐一询问这些数字，而且每个部门的负责人都必须准备好回答有关支出和收入的问题。",
  ],
  [
    "japanese",
    50,
    "来年の予算についての会議は九時半に始まりますので、火曜日に話し合った数字を持って来てください。昼食の前に、取締役会がそのひとつひとつについて質問するからです。",
  ],
  [
    "katakana",
    21,
    "コンピューターのプログラミングとインターネットのセキュリティーについてのプレゼンテーション",
  ],
  [
    "korean",
    59,
    "내년 예산에 관한 회의가 아홉 시 반에 시작되니 화요일에 논의한 숫자들을 꼭 가져오시기 바랍니다. 이사회가 점심 식사 전에 하나하나 물어볼 것이기 때문입니다.",
  ],
  ["digits", 64, "3141592653589793238462643383279502884197169399375105820974944592"],
  ["numbers", 49, "In 1984, 2026 and 1776, 123456 people paid 7.50 for 3,200 tickets on 12/11."],
];
/** Of a full prompt. */
const MOST_TOKENS = 115;

test.each(TOKENS)("a prompt in %s has at most about 115 tokens", (_language, tokens, text) => {
  expect((tokens * LIMITS.promptChars) / spokenLength(text)).toBeLessThan(MOST_TOKENS);
});

test.each([
  ["abc def", 7],
  ["Ёлка?", 6],
  ["🙂🙂", 4],
  ["1984", 16],
  ["你好", 6],
  ["かなカナ", 8],
  ["한국어", 7],
  ["", 0],
] as const)("%j is as long as %d letters", (text, length) => {
  expect(spokenLength(text)).toBe(length);
});

test.each([
  ["请带上数字，", "，"],
  ["ひとつひとつについて、", "、"],
  ["무엇이든 물어보세요, ", ","],
  ["1 2 3 4 5 6 7 8 9, ", ","],
  ["and bring the figures, ", ","],
])("an endless sentence of %j is cut at clauses, and its frames fit the context", (clause, end) => {
  const pieces = split(clause.repeat(100), LIMITS.promptChars, spokenLength);
  expect(pieces.length).toBeGreaterThan(3);
  for (const piece of pieces) {
    expect(piece).toEndWith(end);
    expect(slowFrames(piece)).toBeLessThanOrEqual(900);
  }
});
