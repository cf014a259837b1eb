// Addresses: of web pages and mail, of machines, and telephone numbers.

import { digitByDigit } from "./numbers.ts";
import { type Rule, spell, WORD_START } from "./rule.ts";

/** Ends of names that are words; others of up to three letters are spelt. */
const DOMAIN_WORDS = new Set([
  "com",
  "net",
  "org",
  "info",
  "biz",
  "app",
  "dev",
  "shop",
  "blog",
  "online",
  "store",
  "co",
  "me",
  "mil",
  "gov",
  "club",
  "museum",
]);
/** Without `www.` or a path only these are names of pages: `in` and `it` also begin a sentence. */
const BARE_DOMAINS =
  "com|org|net|edu|gov|mil|info|biz|io|co|uk|de|fr|es|nl|eu|ch|ca|au|jp|ru|cn|app|dev|ai|tv|shop|blog";
const FILE_TYPES =
  "txt|pdf|exe|md|js|ts|py|html|htm|css|csv|json|xml|jpg|jpeg|png|gif|svg|mp3|mp4|wav|zip|doc|docx|xls|xlsx|ppt|sh|sql|yaml|yml|log|cfg|ini|deb|iso";
const SIGNS: Readonly<Record<string, string>> = {
  ".": "dot",
  "/": "slash",
  "-": "dash",
  _: "underscore",
  "~": "tilde",
  "?": "question mark",
  "=": "equals",
  "&": "and",
  "#": "hash",
  "%": "percent",
  "+": "plus",
  ":": "colon",
  "@": "at",
};
const NAME = String.raw`[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,62}[\p{L}\p{N}])?`;
const PATH = String.raw`(?::\d{1,5})?(?:[/?#](?:[\p{L}\p{N}/_~?=&#%+:@.-]{0,300}[\p{L}\p{N}/])?)?`;
const HOST = String.raw`(?:${NAME}\.){1,6}\p{L}{2,12}`;
const START = String.raw`(?<![\p{L}\p{N}@._/-])`;

/** `a-b.com/c` as words and the names of its signs. */
function spellAddress(address: string): string {
  const host = /^[^/?#:]*/.exec(address)![0];
  return Array.from(address.matchAll(/[\p{L}\p{M}]+|\d+|./gu), ({ 0: part, index }) => {
    if (part in SIGNS) return SIGNS[part];
    if (/^\d/.test(part)) return part.length > 2 ? digitByDigit(part) : part;
    if (part === "www") return spell(part);
    const isEnd = index > 0 && index < host.length && host[index - 1] === "." && !host.includes("@", index);
    return isEnd && part.length <= 3 && !DOMAIN_WORDS.has(part) ? spell(part) : part;
  }).join(" ");
}

export const ADDRESSES: readonly Rule[] = [
  {
    example: ["Hello <break time='1s'/> world", "Hello ,  world"],
    pattern: /<(?:(?<pause>break|br|p|\/p|\/s)\b|[/!]?[A-Za-z])(?:[^<>]{0,200})>/g,
    say: ({ pause }) => (pause === "" ? " " : ", "),
  },
  {
    example: ["mail bob.smith@example.co.uk", "mail bob dot smith at example dot co dot u k"],
    pattern: new RegExp(
      String.raw`${START}(?:mailto:)?(?<mail>[\p{L}\p{N}._%+-]{1,64}@${HOST})(?![\p{L}\p{N}])`,
      "gu",
    ),
    say: ({ mail }) => spellAddress(mail),
  },
  {
    example: ["see https://www.example.org/a-b.", "see w w w dot example dot org slash a dash b."],
    pattern: new RegExp(
      String.raw`${START}(?:(?:https?|ftp):\/\/(?<full>(?:${HOST}|localhost|\d{1,3}(?:\.\d{1,3}){3})${PATH})|(?<www>www\.${HOST}${PATH}))`,
      "giu",
    ),
    say: ({ full, www }) => spellAddress(full || www),
  },
  {
    example: [
      "Visit example.com/shop or bbc.co.uk",
      "Visit example dot com slash shop or bbc dot co dot u k",
    ],
    pattern: new RegExp(
      String.raw`${START}(?<page>(?:${NAME}\.){1,6}(?:${BARE_DOMAINS})(?![\p{L}\p{N}-])(?!\.\p{L})${PATH})`,
      "gu",
    ),
    say: ({ page }) => spellAddress(page),
  },
  {
    example: ["open notes_2.txt", "open notes underscore 2 dot t x t"],
    pattern: new RegExp(
      String.raw`${START}(?<name>[\p{L}\p{N}_-]{1,60}(?:\.[\p{L}\p{N}_-]{1,60}){0,3}\.(?:${FILE_TYPES}))(?![\p{L}\p{N}])`,
      "gu",
    ),
    say: ({ name }) => spellAddress(name),
  },
  {
    example: ["ping 192.168.1.10", "ping one nine two dot one six eight dot one dot one zero"],
    pattern: /(?<![\d.\p{L}])(?<ip>\d{1,3}(?:\.\d{1,3}){3})(?![\d\p{L}]|\.\d)/gu,
    say: ({ ip }) => ip.split(".").map(digitByDigit).join(" dot "),
  },
  {
    example: ["#music by @anna", "hashtag music by at anna"],
    pattern: new RegExp(String.raw`${WORD_START}(?<![&/])(?<sign>[#@])(?=\p{L})`, "gu"),
    say: ({ sign }) => (sign === "#" ? "hashtag " : "at "),
  },
];

/** Digit by digit, with a pause between the groups. */
export const grouped = (number: string) =>
  number
    .split(/[^\d]+/)
    .filter(Boolean)
    .map(digitByDigit)
    .join(", ");
const EXTENSION = String.raw`(?:,? ?(?:x|ext\.?|extension) ?(?<extension>\d{1,6}))?`;
const END = String.raw`(?![\d\p{L}]|[-.,:]\d)`;
const before = String.raw`(?<![\d\p{L}.,:/$€£#+-]|\d )`;
const withExtension = (words: string, extension: string) =>
  extension === "" ? words : `${words}, extension ${digitByDigit(extension)}`;
/** What is called, or told, digit by digit. */
const CALLED =
  "[Cc]all|[Dd]ial|[Pp]hone|[Rr]ing|[Tt]ext|[Ff]ax|[Tt]el\\.?:?|[Tt]elephone:?|[Cc]alling|[Dd]ialled|[Dd]ialed|[Cc]alled|[Nn]umber is|hotline|helpline";

export const TELEPHONES: readonly Rule[] = [
  {
    example: ["+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"],
    pattern: new RegExp(
      String.raw`(?<![\d\p{L}+])\+(?<number>\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,6})${EXTENSION}${END}`,
      "gu",
    ),
    say: ({ extension, number }) => {
      if (number.replace(/\D/g, "").length < 7) return null;
      return withExtension(`plus ${grouped(number)}`, extension);
    },
  },
  {
    example: [
      "(555) 123-4567 ext. 12, 1-800-555-0199",
      "five five five, one two three, four five six seven, extension one two, one, eight zero zero, five five five, zero one nine nine",
    ],
    pattern: new RegExp(
      String.raw`${before}(?<number>(?:1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4})${EXTENSION}${END}`,
      "gu",
    ),
    say: ({ extension, number }) => withExtension(grouped(number), extension),
  },
  {
    example: [
      "555-0199, 020 7946 0958, 123-45-6789",
      "five five five, zero one nine nine, zero two zero, seven nine four six, zero nine five eight, one two three, four five, six seven eight nine",
    ],
    pattern: new RegExp(
      String.raw`${before}(?<number>\d{3}-\d{4}|\(?0\d{2,4}\)?(?:[ -]\d{2,6}){1,4}|\d{3}-\d{2}-\d{4}|\d{5}-\d{4}|\d{4}(?:[ -]\d{4}){3})${EXTENSION}${END}`,
      "gu",
    ),
    say: ({ extension, number }) =>
      number.replace(/\D/g, "").length < 7 ? null : withExtension(grouped(number), extension),
  },
  {
    example: ["1-800-FLOWERS", "one, eight zero zero, FLOWERS"],
    pattern: new RegExp(String.raw`${before}(?<number>(?:1-)?8\d\d)-(?=[A-Z]{4,8}\b)`, "gu"),
    say: ({ number }) => `${grouped(number)}, `,
  },
  {
    example: [
      "Call 911 or 112, dial 5550199",
      "Call nine one one or one one two, dial five five five zero one nine nine",
    ],
    pattern: new RegExp(
      String.raw`(?<=\b(?:${CALLED})(?: (?:us|me|him|her|them|on|at|to|the|number)){0,3} )(?<first>\d{3,15})(?: or (?<second>\d{3,15}))?${END}`,
      "gu",
    ),
    say: ({ first, second }) => digitByDigit(first) + (second === "" ? "" : ` or ${digitByDigit(second)}`),
  },
  {
    example: ["the 911 operator", "the nine one one operator"],
    pattern: new RegExp(String.raw`${before}(?<number>911)(?=[^\d\p{L}]|$)${END}(?! \p{Ll}+s\b)`, "gu"),
    say: ({ number }) => digitByDigit(number),
  },
  {
    example: ["ext. 42", "extension four two"],
    pattern: /(?<![\p{L}\p{N}])[Ee]xt\.? ?(?<digits>\d{1,6})(?!\d)/gu,
    say: ({ digits }) => `extension ${digitByDigit(digits)}`,
  },
];
