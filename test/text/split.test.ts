import { expect, test } from "bun:test";
import { split } from "../../src/text/split.ts";
import { patient } from "../_support.ts";

const units = (piece: string) => piece.length;

test.each([
  ["One. Two. Three.", 16, ["One. Two. Three."]],
  [" One. \n\n Two. ", 12, ["One. \n\n Two."]],
  ["", 5, []],
  [" \n\t ", 0, []],
] as [string, number, string[]][])(
  "text within the limit is one trimmed piece: %j",
  (text, limit, pieces) => {
    expect(split(text, limit, units)).toEqual(pieces);
  },
);

test.each([
  ["He came. She left. All wept.", 20, ["He came. She left.", "All wept."]],
  ["Stop! Who? Me.", 6, ["Stop!", "Who?", "Me."]],
  ['He said "Go." Then he went.', 15, ['He said "Go."', "Then he went."]],
  ["你好。我是（真的！）好？对。", 8, ["你好。", "我是（真的！）", "好？对。"]],
  ["走吧。（真的！）", 5, ["走吧。", "（真的！）"]],
  ["A title\n\nIts text.", 12, ["A title", "Its text."]],
] as [string, number, string[]][])(
  "longer text is cut at sentence ends and packed: %j",
  (text, limit, pieces) => {
    expect(split(text, limit, units)).toEqual(pieces);
  },
);

test.each([
  ["Mr. Smith and Mrs. Jones left. Dr. No stayed.", 30, ["Mr. Smith and Mrs. Jones left.", "Dr. No stayed."]],
  ["Bring fruit, e.g. Apples. Or i.e. Pears.", 25, ["Bring fruit, e.g. Apples.", "Or i.e. Pears."]],
  ["Take pens etc. Bob knows. St. Ives is far.", 25, ["Take pens etc. Bob knows.", "St. Ives is far."]],
  ["It is No. 5. No. That is six.", 17, ["It is No. 5. No.", "That is six."]],
  ["By J. K. Rowling. In the U.S. Army.", 17, ["By J. K. Rowling.", "In the U.S. Army."]],
  ["Pi is 3.14. Not 3.15.", 11, ["Pi is 3.14.", "Not 3.15."]],
] as [string, number, string[]][])(
  "abbreviations and decimals do not end a sentence: %j",
  (text, limit, pieces) => {
    expect(split(text, limit, units)).toEqual(pieces);
  },
);

// Everything that is cut is cut where it should be: the limit leaves no room for two sentences.
test.each([
  [
    "english",
    [
      "Ring no. 5 Downing Street.",
      "It is I.",
      "Come at 7 p.m.",
      "At 7 a.m. Monday he left.",
      "I am 3.",
      "Ok.",
    ],
  ],
  [
    "english",
    ["1. Preheat it.", "2. Add eggs.", "Use vol. 3 Anna.", "Don't.", "Get 5 m.", "Room 5B.", "So."],
  ],
  [
    "german",
    [
      "Am 3. Oktober kam er.",
      "Obst, z. B. Äpfel.",
      "U. a. Birnen.",
      "Im 19. Jahrhundert war es.",
      "Der 2. Mann ging.",
    ],
  ],
  [
    "german",
    [
      "Es war Montag, 3. März.",
      "Am 3. 10. 2024 war es.",
      "Um 44 v. Chr. Rom.",
      "Hr. Dipl.-Ing. Maier rief.",
      "Bzw. Nr. 5 Anna.",
    ],
  ],
  ["french", ["M. Dupont et Mme. Durand.", "C.-à-d. Lyon, p. ex. Paris.", "Il y en a.", "Puis non."]],
  [
    "spanish",
    ["El Sr. García y la Sra. López.", "P. ej. Madrid.", "Es la pág. 5 Ana.", "En EE. UU. Ana vive."],
  ],
  ["italian", ["Il Sig. Rossi e il Dott. Bianchi.", "Ecc. Fine.", "Apri pag. 5 Anna."]],
  ["portuguese", ["O Sr. Silva e a Profa. Lima.", "V. Exma. Ana.", "Na pág. 5 Ana."]],
  [
    "russian",
    [
      "А. С. Пушкин жил на ул. Ленина.",
      "В 2020 г. Москва росла.",
      "Т. е. Рим до н. э. Рос.",
      "Это Я.",
      "Да.",
    ],
  ],
  ["korean", ["2024. 10. 3. 개천절입니다.", "네."]],
  ["chinese", ["2024年10月3日，你好。", "J. K. 罗琳。", "好。"]],
  ["japanese", ["Dr. スミスです。", "はい。"]],
] as [string, string[]][])("where %s goes on behind a full stop: %j", (_language, sentences) => {
  expect(split(sentences.join(" "), 1, (piece) => (sentences.includes(piece) ? 1 : 2))).toEqual(sentences);
});

test.each([
  ["First, the rest; and then: the end", 18, ["First, the rest;", "and then: the end"]],
  ["one line\nwraps on and ends", 17, ["one line", "wraps on and ends"]],
  ["He waited – or not — then… left", 16, ["He waited –", "or not — then…", "left"]],
  ["今天天气很好，我们去公园；好吗：好", 8, ["今天天气很好，", "我们去公园；", "好吗：好"]],
  ["All 1,000 at 7:45, for 10–20 of us", 20, ["All 1,000 at 7:45,", "for 10–20 of us"]],
] as [string, number, string[]][])(
  "an overlong sentence is cut at pauses, not inside numbers: %j",
  (text, limit, pieces) => {
    expect(split(text, limit, units)).toEqual(pieces);
  },
);

test.each([
  ["the quick  brown fox jumps", 10, ["the quick", "brown fox", "jumps"]],
  ["今天天气很好", 4, ["今天天气", "很好"]],
  ["supercalifragilistic ok", 8, ["supercal", "ifragili", "stic ok"]],
  ["🇩🇪👩‍👩‍👧é!", 1, ["🇩🇪", "👩‍👩‍👧", "é", "!"]],
  ["Short. Andthislongword.", 10, ["Short. And", "thislongwo", "rd."]],
] as [string, number, string[]][])(
  "an overlong clause is cut between words, an overlong word between graphemes: %j",
  (text, limit, pieces) => {
    expect(split(text, limit, units)).toEqual(pieces);
  },
);

test("any text comes back whole, in order, trimmed and within the limit, though the measure is not additive", () => {
  const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });
  const parts = [
    "a",
    "word",
    "Mr.",
    "1,000",
    "3.14",
    " ",
    "\n",
    "\n\n",
    ". ",
    "! ",
    ", ",
    "。",
    "，你好（",
    "…",
    "—",
    "👩‍👩‍👧",
    "é",
    '"',
    "unpausing".repeat(3),
  ];
  const measures = [
    units,
    (piece: string) => piece.split(/\s+/).length * 3 + (piece.match(/[,.。，]/g)?.length ?? 0),
  ];
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  for (let round = 0; round < 2_000; round++) {
    const text = Array.from({ length: random(30) }, () => parts[random(parts.length)]).join("");
    const limit = 1 + random(40);
    const measure = measures[round % 2];
    const pieces = split(text, limit, measure);
    expect(pieces.join("").replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
    for (const piece of pieces) {
      expect(piece).toBe(piece.trim());
      expect(piece).not.toBe("");
      if (measure(piece) > limit) expect([...graphemes.segment(piece)]).toHaveLength(1);
    }
  }
});

test.each([
  ["words", "word ".repeat(40_000)],
  ["one word", "x".repeat(200_000)],
  ["short sentences", "A b. ".repeat(40_000)],
  ["Chinese without punctuation", "今天天气很好我们去公园玩吧".repeat(15_000)],
  ["spaces", `a${" ".repeat(199_998)}b`],
  ["pauses", `${"—".repeat(200_000)}5`],
])(
  "200 kB of %s are measured a linear number of times, mostly in short pieces",
  (_, text) => {
    let calls = 0;
    let measured = 0;
    split(text, 60, (piece) => {
      calls++;
      measured += piece.length;
      return piece.length;
    });
    expect(calls).toBeLessThan(text.length);
    expect(measured).toBeLessThan(20 * text.length);
  },
  patient(2_000),
);
