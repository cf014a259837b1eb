// The parts of a render that need no hub: a book in sections, finished sentences as bytes and on the shelf,
// the messages of boards, and what makes boards of one kind.

import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { kindOf } from "../../src/cli/shared/kind.ts";
import { ANYWHERE } from "../../src/cores.ts";
import {
  jobOf,
  readNotice,
  readSection,
  readWork,
  sectionText,
  writeSection,
} from "../../src/fleet/render/job.ts";
import { sectionsOf } from "../../src/fleet/render/sections.ts";
import { readSentence, type SentenceSound, writeSentence } from "../../src/fleet/render/sentence-file.ts";
import { Shelf } from "../../src/fleet/render/shelf.ts";
import type { Manifest } from "../../src/formats/bundle.ts";
import { bundleOf, failureOf } from "../_support.ts";
import { newShelves } from "./_render.ts";

describe("a book in sections", () => {
  const paragraphs = Array.from({ length: 40 }, (_, i) => `Paragraph ${i} is here. It says “ß”.`).join(
    "\n\n",
  );
  test("that fits is one", () => {
    expect(sectionsOf("One. Two.", 100)).toEqual([{ text: "One. Two.", endsParagraph: true }]);
    expect(sectionsOf("", 100)).toEqual([]);
  });

  test.each([
    ["paragraphs", paragraphs, true],
    ["lines", paragraphs.replaceAll("\n\n", "\n"), false],
    ["sentences", paragraphs.replaceAll("\n\n", " "), false],
    ["words", "word ".repeat(500), false],
    ["nothing", "€".repeat(900), false],
  ])("is cut at the ends of %s, and loses nothing", (_what, text, endsParagraph) => {
    const sections = sectionsOf(text, 300);
    expect(sections.map((section) => section.text).join("")).toBe(text);
    for (const section of sections) expect(Buffer.byteLength(section.text)).toBeWithin(1, 301);
    expect(sections.length).toBeLessThan((2 * Buffer.byteLength(text)) / 300);
    for (const section of sections.slice(0, -1)) expect(section.endsParagraph).toBe(endsParagraph);
  });

  test("of 20 MB is cut in a moment", () => {
    const startMs = performance.now();
    expect(sectionsOf("A sentence of a long book. ".repeat(750_000), 200_000).length).toBeWithin(101, 104);
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });
});

const SOUND: SentenceSound = {
  key: "0123-0-4",
  samples: Float32Array.of(0.1, -0.2, 1 / 3),
  frames: 2,
  stop: "eos",
  repairs: 1,
  board: "attic",
};

describe("a finished sentence", () => {
  test("comes back to the bit", () => {
    expect(readSentence(writeSentence(SOUND), SOUND.key)).toEqual(SOUND);
  });

  test("that is damaged, cut off or another one's is none", () => {
    const bytes = writeSentence(SOUND);
    expect(readSentence(bytes, "0123-0-5")).toBeNull();
    for (let length = 0; length < bytes.length; length += 7)
      expect(readSentence(bytes.subarray(0, length), SOUND.key)).toBeNull();
    for (let at = 0; at < bytes.length; at += 5) {
      const other = Buffer.from(bytes);
      other[at] ^= 4;
      expect(readSentence(other, SOUND.key)).toBeNull();
    }
    const foreign = writeSentence({ ...SOUND, board: "\x1b[2J" });
    expect(readSentence(foreign, SOUND.key)).toBeNull();
  });
});

describe("a shelf", () => {
  test("keeps sentences until it is full", () => {
    const home = newShelves();
    const bytes = writeSentence(SOUND).length;
    const shelf = new Shelf(home, "0123", { shelfBytes: 2 * bytes, shelfMs: 1_000 });
    expect([1, 2, 3].map((i) => shelf.put({ ...SOUND, key: `0123-0-${i}` }))).toEqual([true, true, false]);
    expect([...shelf.keys()].toSorted()).toEqual(["0123-0-1", "0123-0-2"]);
    expect(shelf.get("0123-0-2")?.samples).toEqual(SOUND.samples);
    expect(new Shelf(home, "4567", { shelfBytes: 2 * bytes, shelfMs: 1e9 }).put(SOUND)).toBe(false);
    writeFileSync(join(home, "0123", "0123-0-1"), "damaged");
    expect([shelf.get("0123-0-1"), shelf.get("0123-0-3")]).toEqual([null, null]);
    expect([...shelf.keys()]).toEqual(["0123-0-2"]);
    shelf.remove();
    expect(readdirSync(home)).toEqual(["4567"]);
  });

  test("that nobody has used for long goes", () => {
    const home = newShelves();
    for (const name of ["old", "new"]) mkdirSync(join(home, name));
    utimesSync(join(home, "old"), 1, 1);
    new Shelf(home, "now");
    expect(readdirSync(home).toSorted()).toEqual(["new", "now"]);
  });
});

describe("messages of renders", () => {
  const voice = {
    ...{ name: "anna", text: "Hello.", codebookSize: 8 },
    xVector: Float32Array.of(0.1, 1e-30, -3),
    codes: new Int32Array(16).fill(7),
  };
  test("carry text and voice to the bit, and a seed for each section", () => {
    const job = jobOf("abcdef01", sectionsOf("One. Two.", 5), { seed: 3, voice, language: "english" });
    const { options, text } = readSection(writeSection(sectionText(job, 1)));
    expect(text).toBe("Two.");
    expect(options).toEqual({ seed: 4, voice, language: "english" });
  });

  test("of other jobs have other names", () => {
    const idOf = (text: string, seed: number, kind = "abcdef01") =>
      jobOf(kind, sectionsOf(text, 99), { seed }).id;
    const ids = [idOf("One.", 1), idOf("Two.", 1), idOf("One.", 2), idOf("One.", 1, "abcdef02")];
    expect(new Set(ids).size).toBe(4);
    expect(idOf("One.", 1)).toBe(ids[0]);
  });

  test.each([
    "",
    "{",
    "null",
    "[]",
    '{"job":"x","section":0,"sentence":0}',
    '{"section":1e9}',
    "x".repeat(5_000),
  ])("that are none are refused (%#)", (message) => {
    const bytes = Buffer.from(message);
    for (const read of [readWork, readNotice, readSection])
      expect(failureOf(() => read(bytes)).code).toBe("REQUEST_INVALID");
  });

  test("cannot change more than a voice", () => {
    const options = { seed: 1, signal: {}, sentences: { from: 1, to: 2 }, priority: 5, trimStart: true };
    const read = readSection(Buffer.from(JSON.stringify({ text: "One.", options })));
    expect(read.options).toEqual({ seed: 1 });
  });
});

test("a kind is what decides the bits of a sound", () => {
  const bundle = bundleOf("starter");
  const settings = { bundle, lexicons: ["list"], machine: {} };
  const engine = (lanes: number, talker = "ort", predictor = "ort") => ({
    backends: { talker, predictor },
    config: { lanes, threads: 1, cpus: ANYWHERE },
  });
  const of = (changes: Partial<Manifest>) => ({
    ...settings,
    bundle: { ...bundle, manifest: { ...bundle.manifest, ...changes } },
  });
  const kind = kindOf(settings, engine(1));
  expect(kind).toMatch(/^[0-9a-f]{32}$/);
  const sampling = { ...bundle.manifest.sampling, maxNewTokens: 5 };
  const { talker, predictor } = engine(1).backends;
  const opened = { ...engine(1), backends: { predictor, talker } }; // in another order
  expect(kindOf(of({ sampling }), opened)).toBe(kind);
  const coarse = of({ weights: { talker: "q4_0", predictor: "q4_0" } });
  expect(kindOf(coarse, engine(4))).toBe(kindOf(coarse, engine(1)));
  const others = [
    kindOf(settings, engine(4)),
    kindOf(settings, engine(1, "llama")),
    kindOf(settings, engine(1, "ort", "axcl")),
    kindOf({ ...settings, lexicons: ["other"] }, engine(1)),
    kindOf(of({ libraries: { llama: "1", onnxruntime: "2" } }), engine(1)),
  ];
  expect(new Set([kind, ...others]).size).toBe(6);
});
