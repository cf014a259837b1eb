// Units of measurement behind a number, one or many: `5 kg`, `60 mph`, `10 m²`, `3 MB/s`.

import type { Noun } from "./numbers.ts";
import { anyOf, type Found, type Rule } from "./rule.ts";

const regular = (one: string): Noun => [one, `${one}s`];
const invariable = (name: string): Noun => [name, name];

const METRIC: Readonly<Record<string, readonly [names: Readonly<Record<string, Noun>>, prefixes: string]>> = {
  length: [{ m: regular("metre") }, "k c m µ μ n d"],
  mass: [{ g: regular("gram") }, "k m µ μ"],
  volume: [{ l: regular("litre"), L: regular("litre") }, "m c d"],
  power: [{ W: regular("watt"), Wh: ["watt hour", "watt hours"], V: regular("volt") }, "k M G T m"],
  current: [{ A: regular("amp"), Ah: ["amp hour", "amp hours"] }, "m"],
  frequency: [{ Hz: invariable("hertz") }, "k M G T"],
  energy: [{ J: regular("joule"), cal: ["calorie", "calories"] }, "k M"],
  pressure: [{ Pa: regular("pascal"), bar: regular("bar") }, "k M h m"],
  data: [{ B: regular("byte"), bit: regular("bit") }, "k K M G T P"],
};
const PREFIXES: Readonly<Record<string, string>> = {
  n: "nano",
  µ: "micro",
  μ: "micro",
  m: "milli",
  c: "centi",
  d: "deci",
  h: "hecto",
  k: "kilo",
  K: "kilo",
  M: "mega",
  G: "giga",
  T: "tera",
  P: "peta",
};

const OTHERS: Readonly<Record<string, Noun>> = {
  t: ["tonne", "tonnes"],
  ha: ["hectare", "hectares"],
  mph: ["mile per hour", "miles per hour"],
  kph: ["kilometre per hour", "kilometres per hour"],
  kmh: ["kilometre per hour", "kilometres per hour"],
  mpg: ["mile per gallon", "miles per gallon"],
  rpm: ["revolution per minute", "revolutions per minute"],
  bpm: ["beat per minute", "beats per minute"],
  fps: ["frame per second", "frames per second"],
  ppm: ["part per million", "parts per million"],
  ppb: ["part per billion", "parts per billion"],
  psi: ["pound per square inch", "pounds per square inch"],
  dpi: ["dot per inch", "dots per inch"],
  px: regular("pixel"),
  MP: regular("megapixel"),
  dB: regular("decibel"),
  lm: regular("lumen"),
  hp: invariable("horsepower"),
  bps: ["bit per second", "bits per second"],
  kbps: ["kilobit per second", "kilobits per second"],
  Kbps: ["kilobit per second", "kilobits per second"],
  Mbps: ["megabit per second", "megabits per second"],
  Gbps: ["gigabit per second", "gigabits per second"],
  KiB: regular("kibibyte"),
  MiB: regular("mebibyte"),
  GiB: regular("gibibyte"),
  Mb: regular("megabit"),
  Gb: regular("gigabit"),
  ft: ["foot", "feet"],
  yd: regular("yard"),
  yds: regular("yard"),
  mi: regular("mile"),
  lb: regular("pound"),
  lbs: regular("pound"),
  oz: ["ounce", "ounces"],
  "fl oz": ["fluid ounce", "fluid ounces"],
  "fl. oz": ["fluid ounce", "fluid ounces"],
  pt: regular("pint"),
  qt: regular("quart"),
  gal: regular("gallon"),
  tsp: regular("teaspoon"),
  tbsp: regular("tablespoon"),
  "sq ft": ["square foot", "square feet"],
  "sq. ft": ["square foot", "square feet"],
  "sq mi": ["square mile", "square miles"],
  "sq m": ["square metre", "square metres"],
  ms: regular("millisecond"),
  s: regular("second"),
  sec: regular("second"),
  secs: regular("second"),
  min: regular("minute"),
  mins: regular("minute"),
  h: regular("hour"),
  hr: regular("hour"),
  hrs: regular("hour"),
  wk: regular("week"),
  wks: regular("week"),
  yr: regular("year"),
  yrs: regular("year"),
};
/** Words too, or letters of a name: only with their full stop, or right behind the number. */
const WITH_STOP: Readonly<Record<string, Noun>> = { in: ["inch", "inches"], mo: regular("month") };

/** By themselves they are more often letters of a name, such as that of a flat: `4B`. */
const LETTERS = ["A", "B", "J"];

const UNITS: Readonly<Record<string, Noun>> = {
  ...OTHERS,
  ...Object.fromEntries(
    Object.values(METRIC).flatMap(([names, prefixes]) =>
      Object.entries(names).flatMap(([sign, name]) => [
        [sign, name] as const,
        ...prefixes
          .split(" ")
          .map(
            (prefix) =>
              [prefix + sign, name.map((word) => PREFIXES[prefix] + word) as unknown as Noun] as const,
          ),
      ]),
    ),
  ),
};
const POWERS: Readonly<Record<string, string>> = { "²": "square", "2": "square", "³": "cubic", "3": "cubic" };

const COUNT = String.raw`(?:(?<one>(?<![\d.,:/-]|\d )1)|(?<=\d|(?<mixed> and [a-z]{1,7} )?\b(?<part>half|quarters?|thirds?|fifths?|sixths?|eighths?|tenths?)(?= )))`;
const UNIT_END = String.raw`(?![\p{L}\p{M}\d'’])`;
const UNIT = anyOf(Object.keys(UNITS).filter((sign) => !LETTERS.includes(sign)));
const POWER = "(?:\\^?(?<power>[²³]|(?<=m|ft|\\^)[23]))?";

/** A fraction takes the singular: `½ kg`, but `1½ kg`. */
const isOne = ({ mixed, one, part }: Found) => one !== "" || (part !== "" && mixed === "");

function unit(sign: string, power: string, single: boolean): string {
  const name = (UNITS[sign] ?? WITH_STOP[sign])[single ? 0 : 1];
  return power === "" ? name : `${POWERS[power]} ${name}`;
}

export const MEASURES: readonly Rule[] = [
  {
    example: [`5'10" or 6′2″`, "5 feet 10 inches or 6 feet 2 inches"],
    pattern: /(?<![\d.,])(?<feet>\d)['’′] ?(?<inches>\d{1,2})(?:["”″]|'')/g,
    say: ({ feet, inches }) => `${feet} feet ${inches} inches`,
  },
  {
    example: [
      "120 km/h, 1 MB/s, 5 kg/m², 6 l/100 km",
      "120 kilometres per hour, 1 megabyte per second, 5 kilograms per square metre, 6 litres per 100 kilometres",
    ],
    pattern: new RegExp(
      String.raw`${COUNT}[ -]?(?<first>${UNIT})\/(?<hundred>100 )?(?<second>${UNIT}|month|day|week|hour|year)${POWER}${UNIT_END}`,
      "gu",
    ),
    say: (found) => {
      const { first, hundred, one, power, second } = found;
      const whole = `${one} ${unit(first, "", isOne(found))} per`;
      if (hundred !== "") return `${whole} 100 ${unit(second, "", false)}`;
      if (second === "s" && power !== "")
        return `${whole} second ${power === "²" || power === "2" ? "squared" : "cubed"}`;
      return `${whole} ${second in UNITS ? unit(second, power, true) : second}`;
    },
  },
  {
    example: [
      "1 kg, 5 kg, 10 m², a 5-km run",
      "1 kilogram, 5 kilograms, 10 square metres, a 5-kilometre run",
    ],
    pattern: new RegExp(
      String.raw`${COUNT}(?<space>[ -]?)(?<sign>${UNIT})${POWER}(?:(?<=ft|lbs?|oz|yds?|hrs?|mins?|secs?|yrs?|gal|pt|qt|mi)\.(?!\s+\p{Lu}|\s*$))?${UNIT_END}`,
      "gu",
    ),
    say: (found) => {
      const { one, power, sign, space } = found;
      const name = unit(sign, power, isOne(found) || space === "-");
      return `${one}${space === "-" ? "-" : " "}${name}`;
    },
  },
  {
    example: ["12 in. wide", "12 inches wide"],
    pattern: new RegExp(String.raw`${COUNT} ?(?<sign>${anyOf(Object.keys(WITH_STOP))})\.`, "gu"),
    say: (found) => `${found.one} ${unit(found.sign, "", isOne(found))}`,
  },
  {
    example: ["1 sq. in", "1 square inch"],
    pattern: new RegExp(String.raw`${COUNT} ?sq\.? in\b\.?`, "gu"),
    say: ({ one }) => `${one} square ${one === "" ? "inches" : "inch"}`,
  },
];
