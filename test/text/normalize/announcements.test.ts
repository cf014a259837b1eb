// What is said of everyday announcements: written => the words, as they are printed before they are spoken.
// Every rule is also held to the example that stands beside it.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ENGLISH, spellOut } from "../../../src/text/normalize/english.ts";
import { applyRules } from "../../../src/text/normalize/rule.ts";
import { plainWords, Reader } from "../../../src/text/reading.ts";
import { atOnce } from "../../../src/text/steps.ts";
import { ROOT } from "../../_support.ts";

const table = (name: string) => readFileSync(join(ROOT, "models/starter", name), "utf8");
const reader = new Reader(table("lexicon.tsv"), table("letters.tsv"));
const said = (text: string) => plainWords(spellOut(text, (word) => reader.has(word)));

const TABLE: Record<string, string> = {
  times: `
    Dinner is at 7:30 pm. => dinner is at seven thirty p m
    at 7pm, 7 p.m. or 7:00 PM => at seven p m, seven p m or seven p m
    At 7.30pm and 6.15 am => at seven thirty p m and six fifteen a m
    Meet at 10 a.m. Then go home. => meet at ten a m, then go home
    at 5 p.m. on Friday => at five p m on friday
    12:00 am and 12 p.m. => twelve a m and twelve p m
    19:05, 19:00, 7:05, 7:00 => nineteen oh five, nineteen hundred, seven oh five, seven o'clock
    Midnight is 00:00, the film 0:15. => midnight is midnight, the film twelve fifteen a m
    7 o'clock sharp => seven o'clock sharp
    23:59:59 => twenty three fifty nine and fifty nine seconds
    7:05:09 pm => seven oh five and nine seconds p m
    9am-5pm => nine a m to five p m
    9–5 p.m. => nine to five p m
    9:00–17:30 => nine o'clock to seventeen thirty
    10am–noon => ten a m to noon
    noon-2pm => noon to two p m
    noon–midnight => noon to midnight
    8-9 a.m. => eight to nine a m
    2 p.m. EST, 14:30 UTC => two p m e s t, fourteen thirty u t c
    GMT+2, UTC-5 => g m t plus two, u t c minus five
    at 0600 hours => at oh six hundred hours
    John 3:16 => john three sixteen`,
  dates: `
    Due Sep 3, Apr 4, Jul 5. => due september third, april fourth, july fifth
    Dec 25th => december twenty fifth
    Feb. 29, 2024 => february twenty ninth, twenty twenty four
    May 5, 2021 => may fifth, twenty twenty one
    3 September => the third of september
    the 3rd of May 1999 => the third of may, nineteen ninety nine
    25 Dec 2024 => the twenty fifth of december, twenty twenty four
    June 2020, Sept 2024 => june twenty twenty, september twenty twenty four
    May 3-5 => may third to fifth
    12/25/2024 => december twenty fifth, twenty twenty four
    25/12/2024 => the twenty fifth of december, twenty twenty four
    25.12.2024 => the twenty fifth of december, twenty twenty four
    2024-12-25 => december twenty fifth, twenty twenty four
    2024-05-03T12:30 => may third, twenty twenty four, twelve thirty
    1/2/24 => january second, twenty twenty four
    Thurs. 3 May => thursday the third of may
    Tue, Sep 3 => tuesday, september third
    Mon-Fri => monday to friday
    Sat. 8 a.m. => saturday eight a m
    Sat down. May I go? The sun is out. => sat down, may i go, the sun is out`,
  years: `
    It was 1920, the 1990s, and 2024. => it was nineteen twenty, the nineteen nineties, and twenty twenty four
    1900, 1905, 2000, 2005, 2010 => nineteen hundred, nineteen oh five, two thousand, two thousand five, twenty ten
    1939-45, 2019–2024, 2024/25 => nineteen thirty nine to forty five, twenty nineteen to twenty twenty four, twenty twenty four twenty five
    In 1066 and in 1990 prices rose => in one thousand sixty six and in nineteen ninety prices rose
    In the '90s, mid-60s, the 2000s => in the nineties, mid sixties, the two thousands
    late 1800s, 1990's, the 20s => late eighteen hundreds, nineteen nineties, the twenties
    class of '99 => class of ninety nine
    1500 books and 2000 people => one thousand five hundred books and two thousand people
    1920 kg => one thousand nine hundred twenty kilograms`,
  telephones: `
    Call 555-123-4567. => call five five five, one two three, four five six seven
    (555) 123-4567 => five five five, one two three, four five six seven
    555.123.4567 x9 => five five five, one two three, four five six seven, extension nine
    555 123 4567 ext. 12 => five five five, one two three, four five six seven, extension one two
    1-800-555-0199 => one, eight zero zero, five five five, zero one nine nine
    +44 20 7946 0958 => plus four four, two zero, seven nine four six, zero nine five eight
    +1-555-123-4567 => plus one, five five five, one two three, four five six seven
    +49 (0)30 123456 => plus four nine, zero, three zero, one two three four five six
    020 7946 0958 => zero two zero, seven nine four six, zero nine five eight
    555-0199 => five five five, zero one nine nine
    Dial 911. Call 112 now. => dial nine one one, call one one two now
    Call me at 5551234567. => call me at five five five one two three four five six seven
    1-800-FLOWERS => one, eight zero zero, flowers
    the 911 operator => the nine one one operator`,
  "rooms and the like": `
    Room 305, Room 12, Room 300 => room three oh five, room twelve, room three hundred
    Flight BA 249, flight 1234 => flight b a two forty nine, flight twelve thirty four
    bus 42, bus 402 => bus forty two, bus four oh two
    gate A4, Gate B12 => gate a four, gate b twelve
    channel 101, channel 4 => channel one oh one, channel four
    Highway 101, Route 66 => highway one oh one, route sixty six
    Apt. 4B, 221B Baker St. => apartment four b, two hundred twenty one b baker street
    PIN 0042, code 007 => pin zero zero four two, code zero zero seven
    zip 90210, area code 415 => zip nine zero two one zero, area code four one five
    No. 5, nos. 3, #7 => number five, numbers three, number seven
    Boeing 747 => boeing seven forty seven`,
  units: `
    The box is 5 kg and 10 cm. => the box is five kilograms and ten centimetres
    It used 1.5 kWh at 60 Hz, 800 ppm. => it used one point five kilowatt hours at sixty hertz, eight hundred parts per million
    1 kg, 3km, 0.5 km, 1 mph, 60 mph => one kilogram, three kilometres, zero point five kilometres, one mile per hour, sixty miles per hour
    20°C, -5°F, 1°, 72 °F => twenty degrees celsius, minus five degrees fahrenheit, one degree, seventy two degrees fahrenheit
    50%, 3.5%, 5-10% => fifty percent, three point five percent, five to ten percent
    16 GB, 100 MB/s, 10 Mbps, 2.4 GHz => sixteen gigabytes, one hundred megabytes per second, ten megabits per second, two point four gigahertz
    6 ft, 12 in. wide, 3 ft 2 in., 5'10" tall => six feet, twelve inches wide, three feet two inches, five feet ten inches tall
    10 lb, 8 oz, 5 lbs. => ten pounds, eight ounces, five pounds
    100 m, 50 m², 5 m2, 20 m³, 6 sq ft => one hundred metres, fifty square metres, five square metres, twenty cubic metres, six square feet
    120 km/h, 9.8 m/s², 6 l/100 km => one hundred twenty kilometres per hour, nine point eight metres per second squared, six litres per one hundred kilometres
    3 hrs, 10 min, 30 sec, 1 hr => three hours, ten minutes, thirty seconds, one hour
    5 ml, 2 L, 220 V, 60W, 500 mAh => five millilitres, two litres, two hundred twenty volts, sixty watts, five hundred milliamp hours
    5 µm, 3 dB, 2 tbsp, 60 fps => five micrometres, three decibels, two tablespoons, sixty frames per second
    ½ mile, 3 1/2 in., 1½ kg, ½ kg => one half mile, three and a half inches, one and a half kilograms, one half kilogram
    a 5-km run => a five kilometre run
    It is 5 in the morning. => it is five in the morning`,
  money: `
    It costs $5M, $2.5k, ¥500. => it costs five million dollars, two thousand five hundred dollars, five hundred yen
    It costs €29,99. => it costs twenty nine euros and ninety nine cents
    £3.50, €1.2bn, £20m => three pounds and fifty pence, one point two billion euros, twenty million pounds
    $1,000.50, $1, £1.01, $0.05 => one thousand dollars and fifty cents, one dollar, one pound and one penny, five cents
    50¢, 99p => fifty cents, ninety nine pence
    $3.5 million => three point five million dollars
    US$20, 20 USD, EUR 5 => twenty u s dollars, twenty u s dollars, five euros
    29,99 €, 5€, 1.299,00 € => twenty nine euros and ninety nine cents, five euros, one thousand two hundred ninety nine euros
    -$5 => minus five dollars
    $10-20, £3–£4 => ten to twenty dollars, three pounds to four pounds
    $5/month, £2/kg => five dollars per month, two pounds per kilogram
    10k steps, 1.2bn people => ten thousand steps, one point two billion people`,
  fractions: `
    Add 1/2 cup, 3/4 full. => add one half cup, three quarters full
    1½ and ½ => one and a half and one half
    2/3, 5/8, 1/3, 1/4 => two thirds, five eighths, one third, one quarter
    1 1/2 cups, 2 3/4 => one and a half cups, two and three quarters
    24/7, 50/50, 9/11 => twenty four seven, fifty fifty, nine eleven
    120/80 => one hundred twenty over eighty`,
  "roman numerals": `
    World War II, chapter IV, Henry VIII. => world war two, chapter four, henry the eighth
    World War I, Part III, Act V => world war one, part three, act five
    Louis XIV, Elizabeth I, Pope John Paul II => louis the fourteenth, elizabeth the first, pope john paul the second
    Pope Benedict XVI's => pope benedict the sixteenth's
    Rocky II, Super Bowl LIV => rocky two, super bowl fifty four
    Chapters I and II => chapters one and two
    vol. II, p. 5 => volume two, page five
    the XIX century => the nineteenth century
    Malcolm X. I am. In part I agree. => malcolm x, i am, in part i agree
    an IV drip, a CV, World War I => an i v drip, a c v, world war one`,
  abbreviations: `
    Mr. Brown is here. => mister brown is here
    Mr. and Mrs. Smith => mister and missus smith
    See Dr. Brown on Elm Dr. today => see doctor brown on elm drive today
    He lives on 5th Ave., 12 Main Rd. => he lives on fifth avenue, twelve main road
    He lives on Main St. Then he moved to St. Louis. => he lives on main street, then he moved to saint louis
    St. James St. near Mount St. Helens => saint james street near mount saint helens
    Mt. Everest, Ft. Worth, Lt. Col. Smith => mount everest, fort worth, lieutenant colonel smith
    cats vs. dogs, Roe v. Wade => cats versus dogs, roe versus wade
    pears, etc. and so on => pears, et cetera and so on
    e.g. apples, i.e. fruit (e.g., pears) => for example apples, that is fruit, for example, pears
    Acme Inc. and Martin Luther King Jr. Day => acme incorporated and martin luther king junior day
    Smith & Co. Ltd. => smith and company limited
    the dept. of approx. 5 => the department of approximately five
    Max. 5, min. 3 => maximum five, minimum three
    See ch. 3, fig. 2, pp. 3–7 => see chapter three, figure two, pages three to seven
    The U.S. Army. He lives in the U.S. He left. => the u s army, he lives in the u s, he left
    J. K. Rowling, J.R.R. Tolkien, A. A. Milne => j k rowling, j r r tolkien, a a milne
    George W. Bush => george w bush
    He has a Ph.D. and an M.A. in it. => he has a p h d and an m a in it
    tea w/o milk => tea without milk
    plan B. Next => plan b, next`,
  acronyms: `
    I have 3 PCs and 2 TVs. => i have three p cs and two t vs
    CDs, DVDs, URLs, IDs => c ds, d v ds, u r ls, i ds
    NASA, IBM, FBI, NATO, UNESCO => nasa, i b m, fbi, nato, unesco
    the US and IT, the UK, the UN => the u s and i t, the u k, the u n
    JOIN US NOW. THIS IS IT. => join us now, this is it
    WARNING: DO NOT FOLLOW US. => warning, do not follow us
    AT&T, Q&A, R&D => a t and t, q and a, r and d
    vitamin A, A4 paper, A good book => vitamin a, a four paper, a good book
    MP3, H2O, 5G, COVID-19 => m p three, h two o, five g, covid nineteen
    iPhone 15, YouTube, McDonald's => i phone fifteen, you tube, mcdonald's
    TV's on => t vs on`,
  addresses: `
    www.example.com => w w w dot example dot com
    https://example.org/path?x=1 => example dot org slash path question mark x equals one
    bob@example.com => bob at example dot com
    a.b-c@x-y.co.uk => a dot b dash c at x dash y dot co dot u k
    bbc.co.uk/news => bbc dot co dot u k slash news
    192.168.1.10 => one nine two dot one six eight dot one dot one zero
    notes_2.txt => notes underscore two dot t x t
    #music by @anna => hashtag music by at anna
    Hello <break time="1s"/> world => hello, world
    <speak>Hello there</speak> => hello there
    It ended.The next => it ended, the next`,
  "ranges, versions, arithmetic": `
    Pages 5-10, 10–15 kg => pages five to ten, ten to fifteen kilograms
    won 3-2, 0-0 => won three to two, zero to zero
    1-2-3 => one two three
    v1.2.3, 3.0, version 2.10 => version one point two point three, three point zero, version two point one zero
    5-3=2 => five minus three equals two
    5 - 3, 2+2=4 => five minus three, two plus two equals four
    -5 degrees, -3.5 => minus five degrees, minus three point five
    3x4, 5 × 3, 10 ÷ 2 => three by four, five times three, ten divided by two
    a ratio of 16:9 => a ratio of sixteen to nine
    x < 5, 3 > 2, ~20, x², 2^10 => x less than five, three greater than two, about twenty, x squared, two to the power of ten
    C#, C++, 50% + 10 => c sharp, c plus plus, fifty percent plus ten
    and/or, TCP/IP => and or, t c p i p
    1 000 000, 1,234,567 => one million, one million two hundred thirty four thousand five hundred sixty seven
    1st, 22nd, 101st => first, twenty second, one hundred first`,
};

for (const [subject, lines] of Object.entries(TABLE)) {
  const cases = lines
    .trim()
    .split("\n")
    .map((line) => line.trim().split(" => ") as [string, string]);
  test.each(cases)(`${subject}: %s`, (written, words) => {
    expect(said(written)).toBe(words);
  });
}

test.each(ENGLISH.flat().map((rule) => [rule.example[0], rule] as const))(
  "a rule reads its own example: %s",
  (written, rule) => {
    expect(atOnce(applyRules([rule], written))).toBe(rule.example[1]);
  },
);

test("nothing that stands in the tables is left for the reader to report", () => {
  const texts = Object.values(TABLE).flatMap((lines) =>
    lines
      .trim()
      .split("\n")
      .map((line) => line.split(" => ")[0]),
  );
  const isWord = (word: string) => reader.has(word);
  expect(texts.flatMap((text) => reader.read(spellOut(text, isWord)).unread)).toEqual([]);
});

test("letters and numbers that were spelt are read by their names", () => {
  expect(reader.read(said("at 7:30 pm")).ipa).toBe("ˈæt sˈɛvən θˈɝdi pˈi ˈɛm.");
  expect(reader.read(spellOut("7 a.m. 3 PCs", (word) => reader.has(word))).ipa).toBe(
    "sˈɛvən eɪ ˈɛm θrˈi pˈi sˈiz.",
  );
  expect(reader.read("centimetres hertz nasa").ipa).toBe("sˈɛntəmˈitɝz hˈɝts nˈæsə.");
});

test.each([
  ["Dinner is at 7:30 a.m.", "Dinner is at seven thirty a m"],
  ["gate A4 of NASA", "gate A four of NASA"],
])("models that read letters themselves keep them: %s", (text, words) => {
  expect(spellOut(text)).toBe(words);
});

test.each(
  [
    ...[
      "a.",
      "1-",
      "1/2 ",
      "IV ",
      "St. ",
      "A St. ",
      "1'",
      "Part I ",
      "1 and half ",
      "May 5 ",
      "1 000 ",
      "9am-",
    ],
    ...[
      "1990-",
      "a@",
      "www.",
      "<a",
      "+1 ",
      "Dr. ",
      "call on to ",
      "€1.000,",
      "1k",
      "aBc",
      "AB ",
      "noon-",
      "A&",
    ],
  ].map((unit) => [unit]),
)(
  "200 kB of %j, which begins what a rule reads, are read in linear time",
  (unit) => {
    said(unit.repeat(200_000 / unit.length));
  },
  5_000,
);
