// Sounds of words that the reading rules say and a voice's lexicon may lack: units of measurement, names in
// capitals. A lexicon's own entry comes first.

const PREFIXES: Readonly<Record<string, string>> = {
  nano: "nˈænoʊ",
  micro: "mˈaɪkroʊ",
  milli: "mˈɪlə",
  centi: "sˈɛntə",
  deci: "dˈɛsə",
  hecto: "hˈɛktoʊ",
  kilo: "kˈɪlə",
  mega: "mˈɛgə",
  giga: "gˈɪgə",
  tera: "tˈɛrə",
  peta: "pˈɛtə",
};
const UNITS: Readonly<Record<string, string>> = {
  metre: "mˈitɝ",
  meter: "mˈitɝ",
  litre: "lˈitɝ",
  liter: "lˈitɝ",
  gram: "grˈæm",
  hertz: "hˈɝts",
  watt: "wˈɑt",
  volt: "vˈoʊlt",
  amp: "ˈæmp",
  joule: "dʒˈul",
  calorie: "kˈælɝi",
  pascal: "pæskˈæl",
  bar: "bˈɑr",
  byte: "bˈaɪt",
  bit: "bˈɪt",
  pixel: "pˈɪksəl",
};
/** Also in the plural. */
const NOUNS: Readonly<Record<string, string>> = {
  kilometre: "kəlˈɑmətɝ",
  kilometer: "kəlˈɑmətɝ",
  hectare: "hˈɛktɛr",
  lumen: "lˈumən",
  euro: "jˈɝoʊ",
  rupee: "rˈupi",
  ruble: "rˈubəl",
  shekel: "ʃˈɛkəl",
  bitcoin: "bˈɪtkˈɔɪn",
  hryvnia: "hrɪvniə",
  gif: "gˈɪf",
};
const OTHERS: Readonly<Record<string, string>> = {
  cetera: "sˈɛtɝə",
  kronor: "krˈoʊnɝ",
  krona: "krˈoʊnə",
  krone: "krˈoʊnə",
  kroner: "krˈoʊnɝ",
  lira: "lˈɪrə",
  missus: "mˈɪsɪz",
  yuan: "juˈɑn",
  zloty: "zlˈɑti",
  mille: "mˈɪl",
  hashtag: "hˈæʃtˈæg",
  australian: "ɔstrˈeɪljən",
  zealand: "zˈilənd",
  singapore: "sˈɪŋəpɔr",
  hong: "hˈɔŋ",
  kong: "kˈɔŋ",
  reverend: "rˈɛvɝənd",
  ascii: "ˈæski",
  asean: "ˈɑsiən",
  bafta: "bˈæftə",
  covid: "kˈoʊvɪd",
  fema: "fˈimə",
  fifa: "fˈifə",
  hipaa: "hˈɪpə",
  ikea: "aɪkˈiə",
  jpeg: "dʒˈeɪpɛg",
  nasa: "nˈæsə",
  nasdaq: "nˈæzdæk",
  nato: "nˈeɪtoʊ",
  opec: "ˈoʊpɛk",
  osha: "ˈoʊʃə",
  uefa: "juˈeɪfə",
  unesco: "junˈɛskoʊ",
  unicef: "jˈunɪsɛf",
  wifi: "wˈaɪfaɪ",
};

const plural = (sound: string) => sound + (/[ptkfθ]$/.test(sound) ? "s" : "z");
const withPlurals = (sounds: Iterable<readonly [string, string]>) =>
  Array.from(sounds).flatMap(
    ([word, sound]) =>
      [
        [word, sound],
        [`${word}s`, plural(sound)],
      ] as const,
  );

/** Word in lower case -> IPA. */
export const SOUNDS: ReadonlyMap<string, string> = new Map([
  ...withPlurals(
    Object.entries({ "": "", ...PREFIXES }).flatMap(([prefix, before]) =>
      Object.entries(UNITS).map(([unit, sound]) => [prefix + unit, before + sound] as const),
    ),
  ),
  ...withPlurals(Object.entries(NOUNS)),
  ...Object.entries(OTHERS),
]);
