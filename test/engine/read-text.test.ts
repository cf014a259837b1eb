// Long texts become prompts in turns with other work: the prompts are those of a text that is read at once,
// and no turn is long.

import { describe, expect, test } from "bun:test";
import { beginText, loadRules, type ReadingContext, readText } from "../../src/engine/read-text.ts";
import type { PromptSource } from "../../src/engine/speech.ts";
import { wholeText } from "../../src/engine/text-source.ts";
import { Lexicon } from "../../src/text/lexicon.ts";
import { countPhones, KnownWords } from "../../src/text/reading.ts";
import { atOnce, mapped, replaced } from "../../src/text/steps.ts";
import { bundleOf, failureOf } from "../_support.ts";

const bundle = bundleOf("starter");
const rules = await loadRules(bundle);
const contextOf = (sentenceMs = 0, paragraphMs = 0): ReadingContext => ({
  bundle,
  settings: { language: "english", normalize: false, pauses: { sentenceMs, paragraphMs }, rawText: false },
  lexicon: new Lexicon([{ written: "kettle", said: "/kˈæt/", place: "the lexicon" }]),
  rules,
});

const filled = (part: string, units = 199_000) => part.repeat(units / part.length);
const ORDINARY =
  "The quick brown fox, which had slept since Monday, jumped over the lazy dog. She paid $5.20 at 7:30 for three apples. Was it worth it? Nobody could say!\n\n";
const BITS = [
  ..."The kettle| is ready.| |\n\n|$5|7:30|a.m. |Dr. Smith|…|—|1/2|x's|'s|café|cafe\u0301|\u0301|naïve ".split(
    "|",
  ),
  ..."日本語。|(|”|NASA |PCs|A4|ᴀ m|\u{17000}|&amp;|<b>|[pause 20ms]|<p>|<sub alias='a b'>c</sub>".split("|"),
  ..."<phoneme ph='kˈæt'>cat</phoneme>|🙂|http://a.b/c|1,234.5|-5|20%|xyzzyplugh|’s|?|, |iPhone|\ud800".split(
    "|",
  ),
];

/** The same texts in every run. */
function* madeTexts(count: number, units: number): Generator<string> {
  let state = 7;
  const below = (most: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >> 8) % most;
  };
  for (let i = 0; i < count; i++) {
    let text = "";
    while (text.length < units) text += BITS[below(BITS.length)] + (below(3) === 0 ? " " : "");
    yield text;
  }
}

/** Reads a text in turns; other work counts the turns that it had meanwhile. */
async function inTurns(text: string, context = contextOf()) {
  const source = wholeText(text, context, false, () => {});
  source.want(0, 2);
  const endedAtOnce = source.ended;
  let turns = 0;
  for (; !source.ended; turns++) await new Promise(setImmediate);
  return { source, endedAtOnce, turns };
}

/** All that a text became, as one string: comparing strings is quick. */
const shown = ({
  ignored,
  pauses,
  sentences,
  unread,
  words,
}: Pick<PromptSource, "ignored" | "pauses" | "sentences" | "unread" | "words">) =>
  JSON.stringify({ ignored, pauses: [...pauses], sentences, unread, words });

describe("a long text", () => {
  test("in turns gives the prompts, words, pauses and losses of one that is read at once", async () => {
    for (const text of madeTexts(4, 10_500)) {
      for (const context of [contextOf(), contextOf(5, 10), contextOf(0, 10)]) {
        const { source } = await inTurns(text, context);
        expect(source.failure).toBeNull();
        expect(shown(source)).toBe(shown(readText(context, text)));
      }
    }
  });

  test("leaves turns to others, and is read to the end whatever is wanted", async () => {
    const { endedAtOnce, source, turns } = await inTurns(filled(ORDINARY));
    expect(endedAtOnce).toBe(false);
    expect(turns).toBeGreaterThan(2);
    expect(source.sentences.length).toBeGreaterThan(1_000);
  });

  test("is read no further once its listener has left", async () => {
    const source = wholeText(filled(ORDINARY), contextOf(5), false, () => {});
    source.want(0, 2);
    source.leave();
    const { length } = source.sentences;
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
    expect(source.sentences.length).toBe(length);
  });

  test("that cannot be read is refused at once, or fails once it is known", async () => {
    const speak = (text: string) => () => void wholeText(text, contextOf(), false, () => {});
    expect(failureOf(speak(filled("a ", 200_002))).code).toBe("TEXT_TOO_LONG");
    expect(failureOf(speak(filled("… ", 20_000))).code).toBe("TEXT_EMPTY");
    expect(failureOf(speak(`${filled("a ", 20_000)}[pause 99s]`)).code).toBe("USAGE");
    const { source } = await inTurns(filled("語", 20_000));
    expect(source.failure?.code).toBe("TEXT_EMPTY");
  });

  test("is read at once where that is asked for, and so is a short one", () => {
    expect(wholeText(filled(ORDINARY, 20_000), contextOf(), true, () => {}).ended).toBe(true);
    expect(wholeText(filled(ORDINARY, 9_000), contextOf(), false, () => {}).ended).toBe(true);
  });
});

/** Milliseconds of this thread: other programs and threads may hold up this one. */
const cpuMs = () => process.threadCpuUsage().user / 1_000;

test.each([ORDINARY, "ab ", "1.", "$1,", "abcdefghij", "'s"])(
  "200 kB of %j take no long step, and little time in all",
  (part) => {
    atOnce(beginText(contextOf(), filled(part, 20_000)).rest); // patterns are compiled
    const startMs = cpuMs();
    const { rest } = beginText(contextOf(), filled(part));
    let [beforeMs, longestMs] = [startMs, 0];
    for (let done = false; !done; ) {
      done = rest.next().done === true;
      const nowMs = cpuMs();
      longestMs = Math.max(longestMs, nowMs - beforeMs);
      beforeMs = nowMs;
    }
    expect(longestMs).toBeLessThan(part === ORDINARY ? 50 : 100); // one number of 200 kB is one step
    expect(beforeMs - startMs).toBeLessThan(2_000);
  },
);

test("phones are counted as the reading has them, as far as is asked for", () => {
  const reader = rules.reader!;
  const sounds = new Map([["\u{17000}", "kˈæt"]]);
  const known = new KnownWords();
  for (const text of madeTexts(100, 60)) {
    const { ipa, unread } = reader.read(text, sounds);
    const all = reader.countPhones(text, Number.MAX_SAFE_INTEGER, sounds, known);
    expect(all).toBe(countPhones(ipa));
    expect(reader.read(text, sounds, known).ipa).toBe(ipa);
    expect(atOnce(reader.unread(text, sounds, known))).toEqual([...new Set(unread)]);
    expect(reader.countPhones(text, 10, sounds, known) > 10).toBe(all > 10);
  }
});

test("steps change items and replace patterns as the language's own calls do", () => {
  const text = "a1b22c333".repeat(200);
  for (const pattern of [/\d+/g, /(?<=\d)(?=[a-z])|^/g, /x/g])
    expect(atOnce(replaced(text, pattern, ({ 0: found }) => `<${found}>`))).toBe(
      text.replace(pattern, (found) => `<${found}>`),
    );
  const items = Array.from({ length: 1_000 }, (_, i) => i);
  expect(atOnce(mapped(items, String))).toEqual(items.map(String));
});
