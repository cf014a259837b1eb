import { expect, test } from "bun:test";
import { spellOut } from "../../src/text/normalize/english.ts";
import { patient } from "../_support.ts";

// Without a lexicon, as for models that read letters and words in capitals by themselves.

const TABLE: Record<string, [string, string][]> = {
  "whole numbers are named": [
    ["42", "forty two"],
    ["0", "zero"],
    ["105 seats", "one hundred five seats"],
    ["1,000", "one thousand"],
    ["1,234,567.", "one million two hundred thirty four thousand five hundred sixty seven."],
    [
      "9007199254740993",
      "nine quadrillion seven trillion one hundred ninety nine billion two hundred fifty four million seven hundred forty thousand nine hundred ninety three",
    ],
    [`1${"0".repeat(65)}`, "one hundred vigintillion"],
  ],
  "lists and wrong groups are not taken for one number": [
    ["1,2,3", "one,two,three"],
    ["1,0000", "one,zero zero zero zero"],
    ["1,000,00", "one,zero zero zero,zero zero"],
  ],
  "numbers without a name are read digit by digit": [
    ["007", "zero zero seven"],
    [`12${"0".repeat(65)}`, `one two${" zero".repeat(65)}`],
  ],
  "decimals and versions": [
    ["3.14", "three point one four"],
    ["0.05", "zero point zero five"],
    [".5", "point five"],
    ["1,000.5", "one thousand point five"],
    ["version 1.2.10", "version one point two point one zero"],
    ["It costs 5. Then", "It costs five. Then"],
  ],
  "minus is a sign, not a hyphen": [
    ["-5", "minus five"],
    ["-.5", "minus point five"],
    ["−5", "minus five"],
    ["5−3", "five minus three"],
    ["pages 5-7", "pages five to seven"],
    ["F-16", "F-sixteen"],
    ["--5", "--five"],
    ["- 5", "- five"],
  ],
  "clock times": [
    ["7:45", "seven forty five"],
    ["7:05", "seven oh five"],
    ["7:00", "seven o'clock"],
    ["07:30", "seven thirty"],
    ["19:30", "nineteen thirty"],
    ["0:00", "midnight"],
    ["at 7:45: go", "at seven forty five: go"],
    ["7:45pm", "seven forty five p m"],
    ["12:30:15", "twelve thirty and fifteen seconds"],
    ["12:00:01", "twelve o'clock and one second"],
  ],
  "what only looks like a time is two numbers": [
    ["24:30", "twenty four to thirty"],
    ["7:60", "seven to sixty"],
    ["7:5", "seven to five"],
    ["1:30:99", "one:thirty:ninety nine"],
  ],
  ordinals: [
    ["1st", "first"],
    ["the 22ND,", "the twenty second,"],
    ["100th", "one hundredth"],
    ["1,000th", "one thousandth"],
    ["0th", "zero th"],
    ["2nds", "two nds"],
  ],
  "numbers come apart from letters": [
    ["USB3", "USB three"],
    ["5G", "five G"],
    ["30km", "thirty kilometres"],
    ["2x4", "two by four"],
    ["5年", "five 年"],
  ],
  signs: [
    ["50%", "fifty percent"],
    ["(50 %)", "(fifty percent)"],
    ["R&D", "R and D"],
    ["salt & pepper", "salt and pepper"],
    ["2+2=4", "two plus two equals four"],
    ["C++", "C plus plus"],
    ["a@b.com", "a at b dot com"],
  ],
  degrees: [
    ["20°C", "twenty degrees celsius"],
    ["-1 °F.", "minus one degree fahrenheit."],
    ["21°", "twenty one degrees"],
    ["a 45°angle", "a forty five degrees angle"],
    ["0.1°C", "zero point one degrees celsius"],
  ],
  "sums of money": [
    ["$5", "five dollars"],
    ["€5", "five euros"],
    ["£5", "five pounds"],
    ["$1", "one dollar"],
    ["$5.50", "five dollars and fifty cents"],
    ["£1.01", "one pound and one penny"],
    ["$0.99", "ninety nine cents"],
    ["$5.00", "five dollars"],
    ["€1,000.5", "one thousand point five euros"],
    ["$1.5 million", "one point five million dollars"],
    ["-$5", "minus five dollars"],
    ["US$5", "five US dollars"],
    ["5 €", "five euros"],
  ],
  "fullwidth forms are read, other scripts and signs stay for the reader to report": [
    ["１２:３０", "twelve thirty"],
    ["５０％", "fifty percent"],
    ["20℃", "twenty degrees celsius"],
    ["٣ 🙂 Ａ", "٣ 🙂 Ａ"],
  ],
  "text without numbers or signs is not touched": [
    ["", ""],
    [" Don't  stop —\r\nwell-known… ", " Don't  stop —\r\nwell-known… "],
  ],
};

for (const [name, cases] of Object.entries(TABLE)) {
  test.each(cases)(`${name}: %j`, (text, words) => {
    expect(spellOut(text)).toBe(words);
  });
}

test.each([
  "1",
  "0",
  "1,",
  "111,",
  "1.",
  "1 ",
  "1:",
  "12:30:",
  "$1",
  "-5",
  "-.",
  "1°",
  "%",
  "1st",
  "a1",
  "\u0301",
  "It is 7:45 and 20°C. ",
])(
  "200 kB of %j are read in linear time and leave no digit",
  (unit) => {
    for (const end of ["", "x", "0000"]) {
      expect(/\d/.test(spellOut(unit.repeat(200_000 / unit.length) + end))).toBe(false);
    }
  },
  patient(2_000),
);
