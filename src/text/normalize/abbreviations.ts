// Abbreviations without the pause of their full stop, initials, and Roman numerals behind names and words.

import { cardinal, ordinal, ROMAN_NUMERAL, romanValue } from "./numbers.ts";
import { anyOf, GOES_ON, type Rule, SPELT_A, spell, WORD_END, WORD_START } from "./rule.ts";

/** Before a name, with a full stop or without one. */
const TITLES: Readonly<Record<string, string>> = {
  Mr: "mister",
  Mrs: "missus",
  Ms: "ms",
  Dr: "doctor",
  Prof: "professor",
  Gen: "general",
  Col: "colonel",
  Lt: "lieutenant",
  Sgt: "sergeant",
  Capt: "captain",
  Cmdr: "commander",
  Maj: "major",
  Rev: "reverend",
  Hon: "honorable",
  Sen: "senator",
  Rep: "representative",
  Gov: "governor",
  Pres: "president",
  Fr: "father",
  St: "saint",
  Mt: "mount",
  Ft: "fort",
};
/** Without their full stop these are words or names of their own. */
const WITH_STOP = ["Gen", "Col", "Maj", "Rev", "Hon", "Sen", "Rep", "Gov", "Pres", "Fr"];
const BARE_TITLES = Object.keys(TITLES).filter((title) => !WITH_STOP.includes(title));

/** Behind a name or an ordinal. */
const ROADS: Readonly<Record<string, string>> = {
  St: "street",
  Ave: "avenue",
  Av: "avenue",
  Rd: "road",
  Dr: "drive",
  Blvd: "boulevard",
  Ln: "lane",
  Ct: "court",
  Pl: "place",
  Sq: "square",
  Hwy: "highway",
  Pkwy: "parkway",
  Ter: "terrace",
};
const BEHIND_NAMES: Readonly<Record<string, string>> = {
  Jr: "junior",
  Sr: "senior",
  Inc: "incorporated",
  Ltd: "limited",
  Corp: "corporation",
  Co: "company",
  Bros: "brothers",
};

/** With their full stop, anywhere. */
const ANYWHERE: Readonly<Record<string, string>> = {
  approx: "approximately",
  appt: "appointment",
  apt: "apartment",
  assoc: "association",
  avg: "average",
  bldg: "building",
  ca: "circa",
  cf: "compare",
  dept: "department",
  div: "division",
  ed: "edition",
  est: "established",
  excl: "excluding",
  ext: "extension",
  feat: "featuring",
  govt: "government",
  incl: "including",
  max: "maximum",
  min: "minimum",
  misc: "miscellaneous",
  rm: "room",
  ste: "suite",
  tel: "telephone",
  temp: "temperature",
  univ: "university",
  viz: "namely",
};
/** Before a number, also a Roman one. */
const LABELS: Readonly<Record<string, string>> = {
  pp: "pages",
  p: "page",
  fig: "figure",
  figs: "figures",
  ch: "chapter",
  vol: "volume",
  vols: "volumes",
  art: "article",
  sec: "section",
  eq: "equation",
  eqs: "equations",
};
/** Also without a full stop. */
const ALWAYS: Readonly<Record<string, string>> = {
  vs: "versus",
  dept: "department",
  govt: "government",
  approx: "approximately",
  Blvd: "boulevard",
  Rd: "road",
  Mrs: "missus",
  Mr: "mister",
  Ltd: "limited",
};
/** With full stops inside. Spaces may stand between their parts. */
const PHRASES: readonly [pattern: string, words: string][] = [
  ["e\\. ?g", "for example"],
  ["i\\. ?e", "that is"],
  ["a\\. ?k\\. ?a", "also known as"],
  ["et al", "and others"],
];

/** Begin a sentence or stand before a title, and name no road. */
const SMALL_WORDS =
  "The|In|At|And|To|Of|On|By|With|From|Dear|Saint|Hi|Hello|Mr|Mrs|But|When|If|As|For|Our|My|Is|Was";
const CAPITAL_BEFORE = String.raw`(?<=\p{Lu}[\p{L}'’]{0,30},? |\d(?:st|nd|rd|th) )`;
/** Behind these `St.` and `Dr.` are roads also before a name: `12 Main St. Paul lives there.` */
const HOUSE = String.raw`\d(?:st|nd|rd|th|[A-Z]? \p{Lu}[\p{L}'’]{0,30})`;
/** What ends with a letter that is no initial. */
const LETTERED =
  "plan|vitamin|grade|type|group|class|section|option|team|level|gate|Plan|Vitamin|Grade|Type|Class|Gate";
/** A saint's place: `Mount St. Helens`, and not a street. */
const PLACE_BEFORE = String.raw`(?<=\b(?:Mount|Mt\.?|Lake|Port|Fort|East|West|North|South|Sault|mount) )`;
const CAPITAL_AFTER = String.raw`(?=\p{Lu})`;

const upper = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
const caseless = (words: Readonly<Record<string, string>>) =>
  anyOf(Object.keys(words).flatMap((word) => [word, upper(word)]));
/** The full stop of an abbreviation: it is read only where another sentence begins. */
const STOP = String.raw`(?:\.${GOES_ON}|(?=\.))`;

/** Come before dates and times, whose words they could be part of. */
export const ABBREVIATIONS: readonly Rule[] = [
  {
    example: ["Mount St. Helens", "Mount saint Helens"],
    pattern: new RegExp(String.raw`${PLACE_BEFORE}St\.? ${CAPITAL_AFTER}`, "gu"),
    say: "saint ",
  },
  {
    example: ["5th Ave., Main St. Then", "5th avenue, Main street. Then"],
    pattern: new RegExp(
      String.raw`${CAPITAL_BEFORE}(?<!\b(?:${SMALL_WORDS}) )(?:(?<=${HOUSE} )|(?!(?:Dr|St)\.?${GOES_ON} \p{Lu}))(?<road>${anyOf(Object.keys(ROADS))})(?:${STOP}|${WORD_END})`,
      "gu",
    ),
    say: ({ road }) => ROADS[road],
  },
  {
    example: ["Mr. Brown, Dr Who, St. Mary", "mister Brown, doctor Who, saint Mary"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?:(?<title>${anyOf(Object.keys(TITLES))})\.${GOES_ON}|(?<bare>${anyOf(BARE_TITLES)}))(?= \p{Lu}| and \p{Lu})`,
      "gu",
    ),
    say: ({ bare, title }) => TITLES[title || bare],
  },
  {
    example: ["King Jr., Acme Inc. grew", "King junior, Acme incorporated grew"],
    pattern: new RegExp(
      String.raw`(?<=(?:\p{Lu}[\p{L}'’]{0,30}|&)\.?)(?:,(?= ))? (?<name>${anyOf(Object.keys(BEHIND_NAMES))})(?:${STOP}|(?<!Co)${WORD_END})`,
      "gu",
    ),
    say: ({ name }) => ` ${BEHIND_NAMES[name]}`,
  },
  {
    example: ["fruit, e.g. pears (i.e., sweet)", "fruit, for example pears (that is, sweet)"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?:${PHRASES.map(([pattern], i) => `(?<p${i}>${pattern})`).join("|")})(?:\.|(?<=al)${WORD_END}(?!\.))`,
      "giu",
    ),
    say: (found) => PHRASES.find((_, i) => found[`p${i}`] !== "")?.[1] ?? null,
  },
  {
    example: ["pears, etc. and so on", "pears, et cetera and so on"],
    pattern: new RegExp(String.raw`${WORD_START}[Ee]tc(?:\.(?!\s+\p{Lu})|(?=\.)|${WORD_END})`, "gu"),
    say: "et cetera",
  },
  {
    example: ["approx. five, the dept. of", "approximately five, the department of"],
    pattern: new RegExp(
      String.raw`(?<![\p{L}\p{M}\d.]|\d )(?<word>${caseless(ANYWHERE)})\.(?=[ ,;:)]|$)${GOES_ON}(?!\s*$)`,
      "gmu",
    ),
    say: ({ word }) => ANYWHERE[word.toLowerCase()],
  },
  {
    example: ["pp. 3, Fig. 2, vol. IV", "pages 3, figure 2, volume IV"],
    pattern: new RegExp(String.raw`${WORD_START}(?<label>${caseless(LABELS)})\. ?(?=\d|[IVX]+\b)`, "gu"),
    say: ({ label }) => `${LABELS[label.toLowerCase()]} `,
  },
  {
    example: ["cats vs. dogs", "cats versus dogs"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?<word>${anyOf(Object.keys(ALWAYS))})${WORD_END}(?:(?<=vs)\.)?`,
      "gu",
    ),
    say: ({ word }) => ALWAYS[word],
  },
  {
    example: ["Roe v. Wade", "Roe versus Wade"],
    pattern: /(?<=\p{Lu}\p{L}{0,30} )v\.? (?=\p{Lu})/gu,
    say: "versus ",
  },
  {
    example: ["tea w/o milk, w/sugar, c/o Ann", "tea without milk, with sugar, care of Ann"],
    pattern: new RegExp(String.raw`${WORD_START}(?:(?<sign>w\/o|c\/o)\b|w\/) ?(?=\p{L})`, "gu"),
    say: ({ sign }) => ({ "w/o": "without ", "c/o": "care of " })[sign] ?? "with ",
  },
  {
    example: ["the U.S. Army, a Ph.D. thesis", "the u s Army, a p h d thesis"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?![AaPp]\.[Mm]\b)(?<letters>PhD|(?:Ph\.|[A-Za-z]\.)(?:\p{L}\.){0,6}\p{L})(?:${STOP}|(?![\p{L}\p{M}\d.]))`,
      "gu",
    ),
    say: ({ letters }) => (/^[a-z]\.[a-z]{2}/.test(letters) ? null : spell(letters.replaceAll(".", ""))),
  },
  {
    example: ["J. K. Rowling, John F. Kennedy", "J K Rowling, John F Kennedy"],
    pattern: new RegExp(
      String.raw`(?<![\p{L}\p{M}\p{N}.]|\b(?:${LETTERED}) )(?![AP]\. ?M\.)(?<letter>[A-HJ-WYZ])\.(?:${GOES_ON}|(?= \p{Lu}\.)) ?(?=\p{Lu}(?:\.|\p{Ll}))`,
      "gu",
    ),
    say: ({ letter }) => `${letter === "A" ? SPELT_A : letter} `,
  },
];

/** Behind these a Roman numeral is a cardinal, also a single letter. */
const NUMBERED =
  "World Wars?|War|[Cc]hapters?|[Pp]arts?|[Vv]olumes?|Acts?|Scenes?|[Ss]ections?|Books?|Articles?|Appendix|[Tt]ypes?|[Pp]hases?|[Cc]lass|[Ss]tages?|[Ll]evels?|Episodes?|Super Bowl|Title|Mark|Rocky|Apollo|[Tt]able|[Ff]igure|[Gg]roup|Fantasy";
/** Behind these it is an ordinal. */
const RULERS =
  "Henry|Elizabeth|George|Edward|Charles|William|James|Richard|Louis|Philip|Pope|John|Paul|Pius|Benedict|Gregory|Leo|Francis|Alexander|Nicholas|Peter|Catherine|Ivan|Frederick|Wilhelm|Napoleon|Ramses|Ptolemy|Darius|Xerxes|Mary|Leopold|Albert|Ferdinand|Alfonso|Carlos|Felipe|Otto|Gustav|Christian|Haakon|Olav|Innocent|Clement|Urban|Boniface|Sixtus|David|Robert|Kenneth|Constantine|Theodosius|Mehmed|Murad|Selim|Selassie|Harald|Margrethe|Juan|Umberto|Victor|Emmanuel|Stephen|Harold|Baldwin|Abdullah|Hassan|Rama|Pedro|Joseph|Rudolf|Maximilian|Antiochus|Seleucus";
/** `John I know him` has no numeral; a king's name goes on with a mark, a capital or one of these words. */
const NO_PRONOUN = String.raw`(?!(?<= I) (?!(?:of|and|or|in|is|at|by|on|to|from|died|reigned|ruled|became)\b)\p{Ll})`;
const NUMERAL = String.raw`(?<numeral>${ROMAN_NUMERAL})${WORD_END}(?!\d)`;
/** Without letters that stand for something else: `CD`, `LCD`, `CV` stay. */
const PLAIN_NUMERAL = String.raw`(?<numeral>(?=[IVX]{2})X{0,3}(?:IX|IV|V?I{2,3}|VI|(?<=X)V?I{0,3}))${WORD_END}(?!\d)`;

export const ROMANS: readonly Rule[] = [
  {
    example: ["Henry VIII, Elizabeth I’s", "Henry the eighth, Elizabeth the first’s"],
    pattern: new RegExp(String.raw`\b(?<name>${RULERS}) ${NUMERAL}${NO_PRONOUN}`, "gu"),
    say: ({ name, numeral }) => `${name} the ${ordinal(romanValue(numeral))}`,
  },
  {
    example: ["World War II, chapter IV, Part I", "World War two, chapter four, Part one"],
    pattern: new RegExp(
      String.raw`\b(?<noun>${NUMBERED}) (?:${NUMERAL}|(?<small>(?:x{1,3}(?:ix|iv|v?i{0,3})|ix|iv|vi{0,3}|i{2,3}))${WORD_END})${NO_PRONOUN}(?: (?<and>and|or|to) (?<second>[IVX]+)\b)?`,
      "gu",
    ),
    say: ({ and, noun, numeral, second, small }) => {
      if (/^[LC]/.test(numeral) && numeral.length === 1) return null;
      if (numeral === "I" && /^[a-z]/.test(noun)) return null;
      const first = `${noun} ${cardinal(romanValue(numeral || small))}`;
      return and === "" ? first : `${first} ${and} ${cardinal(romanValue(second))}`;
    },
  },
  {
    example: ["the XIX century", "the nineteenth century"],
    pattern: new RegExp(
      String.raw`${WORD_START}${NUMERAL}(?= (?:century|Century|Olympi|dynasty|Dynasty)\b)`,
      "gu",
    ),
    say: ({ numeral }) => ordinal(romanValue(numeral)),
  },
  {
    example: ["Loudon Wainwright III, Final Cut VII", "Loudon Wainwright the third, Final Cut seven"],
    pattern: new RegExp(
      String.raw`(?<=(?<two>\p{Lu}\p{Ll}{1,20} )?\p{Lu}\p{Ll}{1,20} )${PLAIN_NUMERAL}`,
      "gu",
    ),
    say: ({ numeral, two }) => {
      if (numeral === "") return null;
      const value = romanValue(numeral);
      return two !== "" && value <= 4 ? `the ${ordinal(value)}` : cardinal(value);
    },
  },
];
