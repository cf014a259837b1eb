// Where a full stop ends no sentence: abbreviations, initials, ordinals and dates of the ten languages that
// the models speak. One table serves them all, since a text may mix them and often nobody says which it is
// in: what is a whole word in another language is left out. Where both can be meant the sentence goes on,
// which only makes it longer. Pure.

/**
 * Written without the last full stop; `_` is a space or none. Those with a small first letter also have a
 * capital.
 */
interface Abbreviations {
  always: string;
  beforeNumbers?: string;
}

const TABLE: Readonly<Record<string, Abbreviations>> = {
  english: {
    always:
      "Mr Mrs Messrs Ms Dr Prof St Jr Sr Mt Ft Gen Col Capt Lt Sgt Maj Cmdr Rev Hon Gov Sen Rep vs etc i._e et_al cf approx dept Ph",
    beforeNumbers: "no nos vol fig ch sec pp Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec",
  },
  german: {
    always:
      "Hr Hrn Fr Frl Dipl Ing med phil jur rer nat bzw ca evtl ggf vgl inkl exkl einschl zzgl insb sog geb gest allg u._a o._ä u._Ä Mio Mrd Tsd Hrsg Chr",
    beforeNumbers: "nr nrn bd kap abb tab abs art str tel Okt Dez Mrz",
  },
  french: {
    always: "MM Mme Mmes Mlle Mlles Mgr Pr Ste c.-à-d p._ex av env éd",
    beforeNumbers: "janv févr avr juil déc chap",
  },
  spanish: {
    always: "Sra Sres Sras Srta Dra Dña Ud Uds Vd Vds Profa Lic Arq Gral Sto Sta Avda p._ej EE UU aprox",
    beforeNumbers: "núm núms pág págs cap tel",
  },
  portuguese: { always: "Sras Srs Eng Exmo Exma", beforeNumbers: "pág págs" },
  italian: { always: "Sig Sigg Dott Avv Geom Spett ecc per_es", beforeNumbers: "pag pagg" },
  russian: {
    always:
      "т._е н._э ул просп пер стр рис гл табл обл тов проф акад доц инж ген напр др тыс млн млрд руб гг",
    beforeNumbers: "кв тел корп каб",
  },
  // These three end sentences with signs of their own, or write dates with full stops (see DATE).
  chinese: { always: "" },
  japanese: { always: "" },
  korean: { always: "" },
};

/** Before the words of the table there is no part of a word, nor an apostrophe as in `don't`. */
const WORD_START = String.raw`(?<![\p{L}\p{M}\p{N}'’])`;

function patternOf(kind: keyof Abbreviations): RegExp {
  const words = Object.values(TABLE).flatMap((list) => (list[kind] ?? "").split(" ").filter(Boolean));
  const patterns = words.map((word) => {
    const [first, ...rest] = word.replaceAll(".", "\\.").replaceAll("_", "\\s?");
    return `[${first}${first.toUpperCase()}]${rest.join("")}`;
  });
  return new RegExp(`${WORD_START}(?:${patterns.join("|")})\\.$`, "u");
}

const ABBREVIATED = patternOf("always");
const BEFORE_NUMBERS = patternOf("beforeNumbers");

/** `J. K. Rowling`, `А. С. Пушкин`, `U.S.`, but not `It is I.` and `Это Я.` */
const INITIAL = new RegExp(`${WORD_START}(?![IЯ])\\p{Lu}\\.$|\\p{Lu}\\.\\s?I\\.$|^I\\.$`, "u");
/** `v. Chr.`, `p. 5`, `2020 г.`; vowels are words somewhere, and behind a number stand units: `5 m.` */
const SMALL_LETTER = new RegExp(
  `${WORD_START}(?:(?<!\\d\\s?)[b-df-hj-np-tv-xz]|[бвгджзклмнпрстфхцчшщ])\\.$`,
  "u",
);
/** `z. B.`, `e. V.`, `v. Chr.`: the letter and what stands behind it. */
const LETTER = new RegExp(`${WORD_START}\\p{L}\\.$`, "u");
const SECOND_PART = /^(?:\p{L}|Chr)\./u;

/** The time of a day may end a sentence. */
const HALF_DAY = /\d\s?[AaPp]\.\s?[Mm]\.$/;
/** Behind it, and behind an ordinal. */
const MONTH =
  /^(?:Jan(?:uary?|uar)?|Jänner|Feb(?:ruary?|ruar)?|März|Mär|Mrz|Apr(?:il)?|Mai|June?|Juni|July?|Juli|Aug(?:ust)?|Sept?(?:ember)?|O[ck]t(?:ober)?|Nov(?:ember)?|De[cz](?:ember)?)(?!\p{L})/u;
const WEEKDAY = /^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day/;

const ORDINAL = /(?<![\p{L}\p{N}.,:])(?:\d{1,3}|[IVX]+)\.$/u;
/** Of German; `I am 3.` is English. */
const ARTICLE_AND_ORDINAL = new RegExp(
  `${WORD_START}(?:(?<!I\\s)am|vom|zum|zur|im|beim|ab|bis|seit|de[rmns]|das|die|jede[rmns]?|ein|(?:unser|[msd]ein|ihr|eur?)(?:e[rmns]?)?)\\s(?:\\d{1,3}|[IVX]+)\\.$`,
  "iu",
);
const COUNTED =
  /^(?:Jahrhundert|Jh\.|Jahrtausend|Mal(?!\p{L})|Platz|Stock|Etage|Weltkrieg|Advent|Geburtstag|Auflage|Klasse|Liga|Runde)/u;
/** `3. 10. 2024` of German, `2024. 10. 3.` of Korean: what stands before and behind a full stop inside. */
const DATE: readonly (readonly [before: RegExp, behind: RegExp])[] = [
  [/(?<!\d)(?:\d{1,2}|\d{4})\.$/, /^\d{1,2}\.(?:\s|\d|$)/],
  [/(?<!\d)\d{1,2}\.\s?\d{1,2}\.$/, /^\d{4}(?!\d)/],
  [/(?<!\d)\d{4}\.\s?\d{1,2}\.\s?\d{1,2}\.$/, /^/],
];

/** Whether the next word decides: it must be complete then. */
export const dependsOnNext = (before: string) => ORDINAL.test(before) || LETTER.test(before);

/**
 * Whether a sentence goes on behind its full stop.
 * @param before the text up to the full stop, or its end: 24 characters suffice
 * @param behind what follows, without the space
 */
export function goesOn(before: string, behind: string): boolean {
  if (HALF_DAY.test(before)) return MONTH.test(behind) || WEEKDAY.test(behind);
  if (ABBREVIATED.test(before) || INITIAL.test(before) || SMALL_LETTER.test(before)) return true;
  if (/^\d/.test(behind) && BEFORE_NUMBERS.test(before)) return true;
  if (LETTER.test(before) && SECOND_PART.test(behind)) return true;
  if (DATE.some(([start, end]) => start.test(before) && end.test(behind))) return true;
  return (
    ORDINAL.test(before) && (MONTH.test(behind) || COUNTED.test(behind) || ARTICLE_AND_ORDINAL.test(before))
  );
}
