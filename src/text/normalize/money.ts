// Sums of money: signs, codes, pence and cents, millions.

import { cardinal, counted, decimal, type Noun, WHOLE } from "./numbers.ts";
import { anyOf, type Found, type Rule, WORD_END, WORD_START } from "./rule.ts";

interface Currency {
  unit: Noun;
  /** Absent where none is in use. */
  hundredth?: Noun;
}

const CENT: Noun = ["cent", "cents"];
const DOLLAR: Currency = { unit: ["dollar", "dollars"], hundredth: CENT };
const EURO: Currency = { unit: ["euro", "euros"], hundredth: CENT };
const POUND: Currency = { unit: ["pound", "pounds"], hundredth: ["penny", "pence"] };
const YEN: Currency = { unit: ["yen", "yen"] };
const RUPEE: Currency = { unit: ["rupee", "rupees"] };
const of = (country: string): Currency => ({
  unit: [`${country} dollar`, `${country} dollars`],
  hundredth: CENT,
});

/** Before the number, or behind it. */
const SIGNS: Readonly<Record<string, Currency>> = {
  $: DOLLAR,
  "€": EURO,
  "£": POUND,
  "¥": YEN,
  "₹": RUPEE,
  "₩": { unit: ["won", "won"] },
  "₽": { unit: ["ruble", "rubles"] },
  "₺": { unit: ["lira", "lira"] },
  "₪": { unit: ["shekel", "shekels"] },
  "₴": { unit: ["hryvnia", "hryvnias"] },
  "₿": { unit: ["bitcoin", "bitcoins"] },
  US$: of("US"),
  A$: of("Australian"),
  C$: of("Canadian"),
  CA$: of("Canadian"),
  NZ$: of("New Zealand"),
  HK$: of("Hong Kong"),
  S$: of("Singapore"),
};
/** Before the number or behind it, with a space or without. */
const CODES: Readonly<Record<string, Currency>> = {
  USD: of("US"),
  EUR: EURO,
  GBP: POUND,
  JPY: YEN,
  INR: RUPEE,
  CHF: { unit: ["Swiss franc", "Swiss francs"] },
  CAD: of("Canadian"),
  AUD: of("Australian"),
  NZD: of("New Zealand"),
  CNY: { unit: ["yuan", "yuan"] },
  SEK: { unit: ["krona", "kronor"] },
  NOK: { unit: ["krone", "kroner"] },
  DKK: { unit: ["krone", "kroner"] },
  PLN: { unit: ["zloty", "zloty"] },
  Rs: RUPEE,
};
/** Behind the number, without a space where they are letters. */
const SCALES: Readonly<Record<string, string>> = {
  k: "thousand",
  K: "thousand",
  m: "million",
  M: "million",
  mn: "million",
  mln: "million",
  mm: "million",
  MM: "million",
  b: "billion",
  B: "billion",
  bn: "billion",
  Bn: "billion",
  T: "trillion",
  tn: "trillion",
  hundred: "hundred",
  thousand: "thousand",
  million: "million",
  billion: "billion",
  trillion: "trillion",
};
const PERIODS: Readonly<Record<string, string>> = {
  h: "hour",
  hr: "hour",
  hour: "hour",
  d: "day",
  day: "day",
  wk: "week",
  week: "week",
  mo: "month",
  month: "month",
  yr: "year",
  y: "year",
  year: "year",
  kg: "kilogram",
  lb: "pound",
  l: "litre",
  L: "litre",
  gal: "gallon",
  kWh: "kilowatt hour",
  GB: "gigabyte",
  person: "person",
  night: "night",
  each: "each",
};

const ALL: Readonly<Record<string, Currency>> = { ...SIGNS, ...CODES };
const SIGN = anyOf(Object.keys(SIGNS));
const CODE = anyOf(Object.keys(CODES));
const SCALE = `(?: ?(?<scale>${anyOf(Object.keys(SCALES))})${WORD_END})?`;
const PERIOD = String.raw`(?:\s?\/\s?(?<period>${anyOf(Object.keys(PERIODS))})${WORD_END})?`;
/** A comma before two digits, or a full stop between groups of three, is the European way. */
const SUM = String.raw`(?:(?<european>(?<![\d.,])\d{1,3}(?:\.\d{3})*),(?<euroCents>\d\d)(?!\d|,\d)|(?<whole>${WHOLE})(?:\.(?<fraction>\d+))?)`;

/** `2.5k` is all its zeros; of more than thousands nobody hears them. */
function scaled(whole: string, fraction: string, scale: string): string {
  const name = SCALES[scale] ?? "";
  if (name === "thousand" && fraction !== "" && fraction.length <= 3 && whole.length <= 3)
    return cardinal(String(Number(whole + fraction.padEnd(3, "0"))));
  return [decimal(whole, fraction && `.${fraction}`), name].filter(Boolean).join(" ");
}

function sum(currency: Currency, found: Found): string {
  const { euroCents, european, period, scale } = found;
  const [whole, fraction] =
    european === "" ? [found.whole, found.fraction] : [european.replaceAll(".", ""), euroCents];
  const words = amount(currency, whole, fraction, scale);
  if (period === "each") return `${words} each`;
  return period === "" ? words : `${words} per ${PERIODS[period]}`;
}

function amount({ hundredth, unit }: Currency, whole: string, fraction: string, scale: string): string {
  if (scale !== "" || (fraction !== "" && (fraction.length !== 2 || hundredth === undefined)))
    return `${scaled(whole, fraction, scale)} ${unit[1]}`;
  const cents = Number(fraction);
  if (cents === 0 || hundredth === undefined) return counted(whole, unit);
  const rest = counted(String(cents), hundredth);
  return whole === "0" ? rest : `${counted(whole, unit)} and ${rest}`;
}

export const MONEY: readonly Rule[] = [
  {
    example: ["$5-10, £3–£4", "5 to $10, £3 to £4"],
    pattern: new RegExp(
      String.raw`(?<first>(?<sign>${SIGN})\d[\d.,]{0,15})\s?[-–—]\s?(?<again>${SIGN})?(?=\d)`,
      "gu",
    ),
    say: ({ again, first, sign }) =>
      again === "" ? `${first.slice(sign.length)} to ${sign}` : `${first} to ${again}`,
  },
  {
    example: [
      "$1,000.50, €29,99, £1.2bn",
      "one thousand dollars and fifty cents, twenty nine euros and ninety nine cents, one point two billion pounds",
    ],
    pattern: new RegExp(
      String.raw`(?:(?<![\p{L}\p{N}])(?=\p{L})|(?=[^\p{L}]))(?<sign>${SIGN}) ?${SUM}${SCALE}${PERIOD}`,
      "gu",
    ),
    say: (found) => sum(ALL[found.sign], found),
  },
  {
    example: ["USD 50", "fifty US dollars"],
    pattern: new RegExp(String.raw`${WORD_START}(?<code>${CODE})\.? ?${SUM}${SCALE}${PERIOD}`, "gu"),
    say: (found) => sum(ALL[found.code], found),
  },
  {
    example: ["29,99 €, 5M EUR", "twenty nine euros and ninety nine cents, five million euros"],
    pattern: new RegExp(
      String.raw`${SUM}${SCALE} ?(?:(?<sign>${anyOf(Object.keys(SIGNS).filter((sign) => !/\p{L}/u.test(sign)))})(?!\d)|(?<code>${CODE})${WORD_END})${PERIOD}`,
      "gu",
    ),
    say: (found) => sum(ALL[found.sign || found.code], found),
  },
  {
    example: ["50¢, 99p", "fifty cents, ninety nine pence"],
    pattern: new RegExp(String.raw`(?<![\d.,])(?<digits>\d{1,2})(?: ?(?<cents>¢)|p${WORD_END})`, "gu"),
    say: ({ cents, digits }) => counted(String(Number(digits)), cents === "" ? ["penny", "pence"] : CENT),
  },
  {
    example: ["10k steps, 1.2bn people", "ten thousand steps, one point two billion people"],
    pattern: new RegExp(
      String.raw`(?<whole>${WHOLE})(?:\.(?<fraction>\d+))?(?<scale>k|M|mn|mln|bn|Bn|tn)${WORD_END}`,
      "gu",
    ),
    say: ({ fraction, scale, whole }) => scaled(whole, fraction, scale),
  },
];
