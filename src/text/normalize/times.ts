// Times of day, dates and years.

import { cardinal, counted, ordinal, pair, plural, year } from "./numbers.ts";
import { anyOf, type Found, GOES_ON, type Rule, spell, WORD_END, WORD_START } from "./rule.ts";

const MONTHS: Readonly<Record<string, string>> = {
  Jan: "January",
  Feb: "February",
  Mar: "March",
  Apr: "April",
  May: "May",
  Jun: "June",
  Jul: "July",
  Aug: "August",
  Sep: "September",
  Sept: "September",
  Oct: "October",
  Nov: "November",
  Dec: "December",
};
const NAMES = [...new Set(Object.values(MONTHS))];
const DAYS: Readonly<Record<string, string>> = {
  Mon: "Monday",
  Tue: "Tuesday",
  Tues: "Tuesday",
  Wed: "Wednesday",
  Thu: "Thursday",
  Thur: "Thursday",
  Thurs: "Thursday",
  Fri: "Friday",
  Sat: "Saturday",
  Sun: "Sunday",
};

const MONTH = String.raw`(?<month>(?:${anyOf(NAMES)})(?!\p{L})|(?:${anyOf(Object.keys(MONTHS))})\b\.?)`;
const DAY = String.raw`(?<day>0?[1-9]|[12]\d|3[01])`;
const TO = String.raw`\s?[-–—]\s?`;
const LAST_DAY = String.raw`(?:${TO}(?<lastDay>[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?)?`;
const YEAR = String.raw`(?<year>(?:1[1-9]|20)\d\d)`;
const NUMBER_END = String.raw`(?![\d\p{L}]|[.,:/-]\d)`;
const MERIDIEM = String.raw`(?<half>[AaPp])(?:[Mm]${WORD_END}|\.\s?[Mm](?:\.${GOES_ON}|(?=\.)|${WORD_END}))`;

const monthName = (written: string) =>
  MONTHS[written.replace(".", "").slice(0, 4)] ?? MONTHS[written.slice(0, 3)];

/** The year stands apart, as in speech. */
const withYear = (words: string, digits: string) => (digits === "" ? words : `${words}, ${year(digits)}`);
const dayOf = (day: string, last = "") =>
  last === "" ? ordinal(Number(day)) : `${ordinal(Number(day))} to ${ordinal(Number(last))}`;

/** Of a date in numbers, or null where there is no such day. */
function numeric(day: string, month: string, digits: string, dayFirst: boolean): string | null {
  const name = NAMES[Number(month) - 1];
  if (name === undefined || Number(day) < 1 || Number(day) > 31) return null;
  const full = digits.length === 2 ? `${Number(digits) < 70 ? 20 : 19}${digits}` : digits;
  return withYear(dayFirst ? `the ${dayOf(day)} of ${name}` : `${name} ${dayOf(day)}`, full);
}

/** Of digits, some of which may be missing: ""; null where there is no such day. */
export function dateOf({ d, m, y }: Record<"y" | "m" | "d", string>): string | null {
  if (d !== "" && m !== "") return numeric(d, m, y, false);
  const name = m === "" ? "" : NAMES[Number(m) - 1];
  if (name === undefined || (d !== "" && !(Number(d) >= 1 && Number(d) <= 31))) return null;
  return [name, d === "" ? "" : dayOf(d), y === "" ? "" : year(y)].filter(Boolean).join(" ");
}

/** @param half `a`, `p`, or "" for a clock of 24 hours */
export function clock(hours: string, minutes: string, seconds: string, half: string): string {
  const hour = Number(hours);
  const rest = seconds === "" ? "" : ` and ${counted(String(Number(seconds)), ["second", "seconds"])}`;
  if (half === "" && hour % 24 === 0) {
    if (minutes === "00" && seconds === "") return "midnight";
    return `${["twelve", minutes === "00" ? "" : pair(minutes), spell("am")].filter(Boolean).join(" ")}${rest}`;
  }
  if (half !== "")
    return `${[cardinal(hour), minutes === "" || minutes === "00" ? "" : pair(minutes)].filter(Boolean).join(" ")}${rest} ${spell(`${half}m`)}`;
  const sharp = hour > 12 ? "hundred" : "o'clock";
  return `${cardinal(hour)} ${minutes === "00" ? sharp : pair(minutes)}${rest}`;
}

const CLOCK_TIME = String.raw`(?:[01]?\d|2[0-3])[:.][0-5]\d`;
const HALF = String.raw`\s?[ap]\.?m\b\.?`;
const NOON = "noon|midnight|midday";

export const TIMES: readonly Rule[] = [
  {
    example: ["9am-5pm", "9am to 5pm"],
    pattern: new RegExp(
      String.raw`(?<![\d:.,])(?<from>\d{1,2}(?:[:.]\d\d)?${HALF})${TO}(?=\d{1,2}(?:[:.]\d\d)?${HALF}|${NOON})`,
      "giu",
    ),
    say: ({ from }) => `${from} to `,
  },
  {
    example: ["9–5 p.m.", "9 to 5 p.m."],
    pattern: new RegExp(
      String.raw`(?<![\d:.,$€£-])(?<from>\d{1,2}(?:[:.]\d\d)?)${TO}(?=\d{1,2}(?:[:.]\d\d)?${HALF})`,
      "giu",
    ),
    say: ({ from }) => `${from} to `,
  },
  {
    example: ["noon-2", "noon to 2"],
    pattern: new RegExp(String.raw`\b(?<from>${NOON})${TO}(?=\d|${NOON})`, "giu"),
    say: ({ from }) => `${from} to `,
  },
  {
    example: ["9:00–17:30 or 10-noon", "9:00 to 17:30 or 10 to noon"],
    pattern: new RegExp(
      String.raw`(?<![\d:.,$€£-])(?<from>${CLOCK_TIME}|\d{1,2}(?=${TO}(?:${NOON})))${TO}(?=${CLOCK_TIME}|${NOON})`,
      "giu",
    ),
    say: ({ from }) => `${from} to `,
  },
  {
    example: ["7:30 pm", "seven thirty p m"],
    pattern: new RegExp(
      String.raw`(?<![\d:.,])(?<hours>0?\d|1[0-2])(?:[:.](?<minutes>[0-5]\d)(?::(?<seconds>[0-5]\d))?)?\s?${MERIDIEM}`,
      "gu",
    ),
    say: ({ half, hours, minutes, seconds }) => clock(hours, minutes, seconds, half.toLowerCase()),
  },
  {
    example: ["in the a.m. and p.m. Then", "in the ᴀ m and p m. Then"],
    pattern: new RegExp(String.raw`${WORD_START}(?<half>[AaPp])\.\s?[Mm](?:\.${GOES_ON}|(?=\.))`, "gu"),
    say: ({ half }) => spell(`${half}m`),
  },
  {
    example: ["at 0600 hours", "at oh six hundred hours"],
    pattern: /(?<![\d:.,])(?<hours>[01]\d|2[0-3])(?<minutes>[0-5]\d)(?= ?(?:hours|hrs|h)\b)/g,
    say: ({ hours, minutes }) => `${pair(hours)} ${pair(minutes)}`,
  },
  {
    example: ["19:05, 0:15", "nineteen oh five, twelve fifteen ᴀ m"],
    pattern:
      /(?<!\d[:.,]?|:)(?<hours>[01]?\d|2[0-3]|24(?=:00(?!:))):(?<minutes>[0-5]\d)(?::(?<seconds>[0-5]\d))?(?!:?\d)/g,
    say: ({ hours, minutes, seconds }) => clock(hours, minutes, seconds, ""),
  },
];

/** A range of years, or a season: `1939-45`, `2024/25`. */
function years({ first, last, sign }: Found): string {
  return `${year(first)} ${sign === "/" ? "" : "to "}${year(last)}`;
}

export const DATES: readonly Rule[] = [
  {
    example: ["2024-05-03T12:30", "May third, twenty twenty four, 12:30"],
    pattern: new RegExp(
      String.raw`(?<![\d\p{L}.,/-])(?<year>\d{4})(?<sign>[-/.])(?<month>0?[1-9]|1[0-2])\k<sign>${DAY}(?:T(?<time>\d\d:\d\d(?::\d\d)?)(?:\.\d+)?Z?)?${NUMBER_END}`,
      "gu",
    ),
    say: ({ day, month, time, year }) => {
      const date = numeric(day, month, year, false);
      return date === null || time === "" ? date : `${date}, ${time}`;
    },
  },
  {
    example: ["12/25/2024", "December twenty fifth, twenty twenty four"],
    pattern: new RegExp(
      String.raw`(?<![\d\p{L}.,/-])(?<first>\d{1,2})(?<sign>[-/.])(?<second>\d{1,2})\k<sign>(?<year>(?:19|20)\d\d|(?<!\.)\d\d)${NUMBER_END}`,
      "gu",
    ),
    say: ({ first, second, sign, year }) => {
      if (year.length === 2 && sign !== "/") return null;
      const dayFirst = sign === "." || Number(first) > 12;
      return dayFirst ? numeric(first, second, year, true) : numeric(second, first, year, false);
    },
  },
  {
    example: ["(Mon-Fri)", "(Monday to Friday)"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?<from>${anyOf(Object.keys(DAYS))})\.?${TO}(?<to>${anyOf(Object.keys(DAYS))})(?!\p{L})`,
      "gu",
    ),
    say: ({ from, to }) => `${DAYS[from]} to ${DAYS[to]}`,
  },
  {
    example: ["Tue, Sep 3", "Tuesday, Sep 3"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?<day>${anyOf(Object.keys(DAYS))})(?:\.(?=,? \d|,? \p{Lu})|(?=,? ?(?:\d|(?:${anyOf(Object.keys(MONTHS))}))))(?!\p{L})`,
      "gu",
    ),
    say: ({ day }) => DAYS[day],
  },
  {
    example: [
      "Sep 3, May 3-5, Dec. 25, 2024",
      "September third, May third to fifth, December twenty fifth, twenty twenty four",
    ],
    pattern: new RegExp(
      String.raw`${WORD_START}${MONTH} ${DAY}(?:st|nd|rd|th)?${LAST_DAY}(?![\d\p{L}]|[.:/-]\d)(?:,? ${YEAR}(?!\d|[.,:]\d))?`,
      "gu",
    ),
    say: ({ day, lastDay, month, year }) => withYear(`${monthName(month)} ${dayOf(day, lastDay)}`, year),
  },
  {
    example: ["on 25 Dec 2024", "on the twenty fifth of December, twenty twenty four"],
    pattern: new RegExp(
      String.raw`(?<![\d\p{L}.,:/$€£-])(?<article>[Tt]he )?${DAY}(?:st|nd|rd|th)?${LAST_DAY} (?:of )?${MONTH}(?:,? ${YEAR}(?!\d|[.,:]\d))?`,
      "gu",
    ),
    say: ({ article, day, lastDay, month, year }) =>
      withYear(`${article || "the "}${dayOf(day, lastDay)} of ${monthName(month)}`, year),
  },
  {
    example: ["Sept 2024, in Dec.", "September 2024, in December"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?:(?<month>${anyOf(Object.keys(MONTHS))})\.?(?= (?:1[1-9]|20)\d\d\b)|(?<=\b(?:in|since|until|by|of|last|next|early|late|mid) )(?<alone>Jan|Feb|Apr|Aug|Sept?|Oct|Nov|Dec)\b\.?)`,
      "gu",
    ),
    say: ({ alone, month }) => monthName(month || alone),
  },
  {
    example: ["the 1990s, mid-80s, '90s", "the nineteen nineties, mid-eighties, nineties"],
    pattern: /(?<![\d\p{L}.,$€£#])['’‘]?(?<century>1[1-9]|20)?(?<decade>\d0)['’]?s(?![\p{L}\d])/gu,
    say: ({ century, decade }) => {
      if (century !== "" && decade === "00")
        return century === "20" ? "two thousands" : `${cardinal(century)} hundreds`;
      if (decade === "00") return null;
      return [century === "" ? "" : cardinal(century), plural(cardinal(decade))].filter(Boolean).join(" ");
    },
  },
  {
    example: ["100s of them, 1000s", "hundreds of them, thousands"],
    pattern: /(?<![\d\p{L}.,$€£#])(?<zeros>1000?)s(?![\p{L}\d])/gu,
    say: ({ zeros }) => (zeros === "100" ? "hundreds" : "thousands"),
  },
  {
    example: ["class of ’99", "class of ninety nine"],
    pattern: /(?<![\d\p{L}'’])['’‘](?<digits>\d\d)(?![\d\p{L}'’"]|[.,:]\d)/gu,
    say: ({ digits }) => year(digits),
  },
  {
    example: [
      "1939-45, 2019–2024, 2024/25",
      "nineteen thirty nine to forty five, twenty nineteen to twenty twenty four, twenty twenty four twenty five",
    ],
    pattern:
      /(?<![\d\p{L}.,:/$€£#-])(?<first>(?:1[1-9]|20)\d\d)(?:(?<sign>\s?[-–]\s?|\/)(?<last>(?:1[1-9]|20)\d\d|\d\d))(?![\d\p{L}%°]|[.,:/-]\d)/gu,
    say: (found) => {
      const { first, last } = found;
      return Number(last) > Number(first.slice(-last.length)) || last.length === 4 ? years(found) : null;
    },
  },
];

/** What stands before a year and never before a number of things. */
const YEAR_BEFORE =
  "in|since|by|until|till|before|after|during|circa|ca\\.|year|years|summer|winter|spring|autumn|fall";
const NO_PLURAL = "was|is|has|as|its|this|us|does|yes|perhaps|plus|times|versus|minus|equals|thus|always";

/** Comes after the units and the sums: `1920 kg` is no year. */
export const YEARS: readonly Rule[] = [
  {
    example: ["It was 1920, not 2005.", "It was nineteen twenty, not two thousand five."],
    pattern: new RegExp(
      String.raw`(?<![\d\p{L}.,:/$€£#_-]|\d[ -])(?<before>(?:${YEAR_BEFORE}) )?(?<digits>(?:1[1-9]|20)\d\d)(?![\d\p{L}%°/]|[.,:-]\d|,\d|(?<things> (?!(?:${NO_PLURAL})\b)[a-z]{2,}s\b| (?:people|men|women|children|percent|million|thousand|by|times|plus)\b))`,
      "giu",
    ),
    say: ({ before, digits }) => `${before}${year(digits)}`,
  },
  {
    example: ["In 1990 prices rose", "In nineteen ninety prices rose"],
    pattern: new RegExp(
      String.raw`\b(?<before>(?:${YEAR_BEFORE}) )(?<digits>(?:1[1-9]|20)\d\d)(?![\d\p{L}%°/]|[.,:-]\d)`,
      "giu",
    ),
    say: ({ before, digits }) => `${before}${year(digits)}`,
  },
];
