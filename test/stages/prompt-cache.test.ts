// Prompts that are kept: their files, faults of these files, and the same sound to the bit with and without
// them.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { loadConfig, PREFIX_CACHE_CHOICES, PREFIX_LIMITS } from "../../src/config.ts";
import { type Engine, type OpenOptions, open, type SpeakOptions } from "../../src/engine.ts";
import { BUNDLE_FILES } from "../../src/formats/bundle.ts";
import { PrefixStore, type PromptState } from "../../src/stages/prompt-cache.ts";
import { bundleOf, goldenCases, goldenRun, scratchFolder } from "../_support.ts";

const newCache = () => mkdtempSync(join(scratchFolder(), "prefixes-"));
const folderOf = (cacheDir: string) => join(cacheDir, "prefixes");
const statesIn = (cacheDir: string) => readdirSync(folderOf(cacheDir)).filter((name) => name.endsWith(".kv"));
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe("files of prompts", () => {
  const keyOf = (number: number) => number.toString(16).padStart(16, "0").padEnd(64, "0");
  const stateOf = (number: number, length = 100): PromptState => ({
    positions: number,
    computedMs: 1.5,
    results: Float32Array.from([number, 0.5, -1]),
    bytes: new Uint8Array(length).fill(number),
  });
  const plain = (state: PromptState | null) =>
    state && { ...state, bytes: Array.from(state.bytes), results: Array.from(state.results) };

  /** Asks for keys, then does all work that was left for later. */
  function ask(store: PrefixStore, keys: number[], lasting = false): void {
    for (const key of keys) store.ask(keyOf(key), lasting);
    while (store.tidy((key) => stateOf(Number.parseInt(key.slice(0, 16), 16))));
  }

  test("come with the second request, in whichever process, readable by the user alone", () => {
    const cache = newCache();
    ask(new PrefixStore(cache), [7]);
    expect(statesIn(cache)).toEqual([]);
    ask(new PrefixStore(cache), [7, 8]);
    expect(statesIn(cache)).toEqual([`${keyOf(7)}.kv`]);
    expect(plain(new PrefixStore(cache).read(keyOf(7)))).toEqual(plain(stateOf(7)));
    expect(new PrefixStore(cache).read(keyOf(8))).toBeNull();
    expect(modeOf(folderOf(cache))).toBe("700");
    for (const name of readdirSync(folderOf(cache))) expect(modeOf(join(folderOf(cache), name))).toBe("600");
  });

  test("come at once for a lasting key, or for one asked for twice before a quiet moment", () => {
    const cache = newCache();
    ask(new PrefixStore(cache), [1], true);
    ask(new PrefixStore(cache), [2, 2]);
    expect(statesIn(cache).length).toBe(2);
  });

  const path = (cache: string) => join(folderOf(cache), `${keyOf(7)}.kv`);
  const flip = (at: number) => (cache: string) => {
    const file = readFileSync(path(cache));
    file[at < 0 ? file.length + at : at] ^= 1;
    writeFileSync(path(cache), file);
  };
  test.each<[string, (cache: string) => unknown]>([
    ["cut short", (cache) => truncateSync(path(cache), 150)],
    ["cut inside the header", (cache) => truncateSync(path(cache), 50)],
    ["empty", (cache) => truncateSync(path(cache), 0)],
    ["longer than it was", (cache) => truncateSync(path(cache), 300)],
    ["too large to be one", (cache) => truncateSync(path(cache), 2 * PREFIX_LIMITS.memoryBytes + 1)],
    ["of no such format", flip(0)],
    ["of another version", flip(8)],
    ["changed in its number of positions", flip(12)],
    ["changed in its sizes", flip(24)],
    ["changed in its key", flip(40)],
    ["changed in its sum", flip(70)],
    ["changed in its first byte", flip(96)],
    ["changed in its last byte", flip(-1)],
    ["that of another key", (cache) => copyFileSync(join(folderOf(cache), `${keyOf(8)}.kv`), path(cache))],
    [
      "a link",
      (cache) => [renameSync(path(cache), join(cache, "x")), symlinkSync(join(cache, "x"), path(cache))],
    ],
    ["a folder", (cache) => [rmSync(path(cache)), mkdirSync(join(path(cache), "more"), { recursive: true })]],
  ])("a file that is %s is dropped and made again", (_what, damage) => {
    const cache = newCache();
    ask(new PrefixStore(cache), [7, 7, 8, 8]);
    damage(cache);
    const store = new PrefixStore(cache);
    store.ask(keyOf(7), false);
    expect(store.read(keyOf(7))).toBeNull();
    expect(existsSync(path(cache))).toBe(false);
    ask(store, []);
    expect(plain(store.read(keyOf(7)))).toEqual(plain(stateOf(7)));
  });

  test("are bounded in number; those used last stay", () => {
    const cache = newCache();
    const many = Array.from({ length: PREFIX_LIMITS.diskFiles }, (_, i) => i + 1);
    ask(new PrefixStore(cache), many, true);
    for (const key of many) utimesSync(join(folderOf(cache), `${keyOf(key)}.kv`), 1_000 + key, 1_000 + key);
    const store = new PrefixStore(cache);
    ask(store, [1]); // used again
    ask(store, [500, 501], true);
    expect(statesIn(cache).length).toBe(PREFIX_LIMITS.diskFiles);
    expect([1, 2, 3, 4, 500, 501].filter((key) => store.read(keyOf(key)) !== null)).toEqual([1, 4, 500, 501]);
  });

  test("are bounded in bytes", () => {
    const cache = newCache();
    ask(new PrefixStore(cache), [1, 2, 3, 4, 5], true);
    for (const key of [1, 2, 3, 4, 5]) {
      const file = join(folderOf(cache), `${keyOf(key)}.kv`);
      truncateSync(file, Math.floor(PREFIX_LIMITS.diskBytes / 5));
      utimesSync(file, 1_000 + key, 1_000 + key);
    }
    ask(new PrefixStore(cache), [6], true);
    expect(statesIn(cache).toSorted()).toEqual([2, 3, 4, 5, 6].map((key) => `${keyOf(key)}.kv`));
  });

  test("of requests, only the last thousands are remembered", () => {
    const cache = newCache();
    const store = new PrefixStore(cache);
    for (let round = 0; round < 5; round++)
      ask(
        store,
        Array.from({ length: 2_000 }, (_, i) => 10_000 * round + i),
      );
    expect(statSync(join(folderOf(cache), "seen")).size).toBeLessThanOrEqual(17 * PREFIX_LIMITS.seenKeys);
    ask(store, [41_999]);
    expect(statesIn(cache).length).toBe(1);
    expect(readdirSync(folderOf(cache)).length).toBe(2);
  });

  test("the leftovers of a killed process go away", () => {
    const cache = newCache();
    ask(new PrefixStore(cache), [1], true);
    const gone = Bun.spawnSync(["true"]).pid;
    writeFileSync(join(folderOf(cache), `.file.part-${gone}-0a1b2c3d`), "half");
    ask(new PrefixStore(cache), [2], true);
    expect(readdirSync(folderOf(cache)).toSorted()).toEqual([`${keyOf(1)}.kv`, `${keyOf(2)}.kv`, "seen"]);
  });

  test("a folder open to others is closed, and one that is not ours is left alone", () => {
    const cache = newCache();
    ask(new PrefixStore(cache), [1], true);
    chmodSync(folderOf(cache), 0o755);
    expect(new PrefixStore(cache).read(keyOf(1))).not.toBeNull();
    expect(modeOf(folderOf(cache))).toBe("700");
    const linked = newCache();
    symlinkSync(folderOf(cache), folderOf(linked));
    expect(new PrefixStore(linked).read(keyOf(1))).toBeNull();
    if (process.getuid?.() !== 0) return; // only root can give a folder away
    chownSync(folderOf(cache), 65_534, 65_534);
    ask(new PrefixStore(cache), [2], true);
    expect(new PrefixStore(cache).read(keyOf(1))).toBeNull();
    expect(statesIn(cache).length).toBe(1);
  });

  test("a place that cannot be written to is no error", () => {
    const file = join(newCache(), "file");
    writeFileSync(file, "");
    for (const cache of [file, "/proc/self"]) {
      const store = new PrefixStore(cache);
      ask(store, [1], true);
      expect(store.read(keyOf(1))).toBeNull();
    }
  });
});

interface Spoken {
  codes: number[];
  samples: number[];
  rows: number;
  cachedRows: number;
  savedMs: number;
}

async function speak(engine: Engine, text: string, options: SpeakOptions = {}): Promise<Spoken> {
  const speech = engine.speak(text, { seed: 5, maxFrames: 12, ...options });
  const [codes, samples]: number[][] = [[], []];
  for await (const chunk of speech) {
    codes.push(...chunk.codes);
    samples.push(...chunk.samples);
  }
  return { codes, samples, ...speech.summary().prompt };
}

/** Opens an engine for some work. */
async function withEngine<T>(options: OpenOptions, work: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await open(options);
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}

const sound = ({ codes, samples }: Spoken) => ({ codes, samples });
const TEXT = "The kettle is ready.";

describe("the same bits, whatever is known already", () => {
  const starter = () => bundleOf("starter").directory;
  const spokenBy = (name: string): [string, SpeakOptions] => {
    const golden = goldenCases().find((each) => each.name === name)!;
    const { bundle, voice } = goldenRun(golden);
    const { language, non_streaming_mode = true, ref_text: text = "", x_vector_only } = golden;
    const codes = x_vector_only ? null : voice.codes;
    const cloned = voice.xVector && {
      name,
      text: codes === null ? "" : text!,
      xVector: voice.xVector,
      codes,
      codebookSize: bundle.manifest.shape.codes,
    };
    const options = cloned === null ? { speaker: golden.speaker } : { voice: cloned };
    return [bundle.directory, { ...options, language, textMode: non_streaming_mode ? "whole" : "stream" }];
  };
  const cases: [string, () => [string, SpeakOptions]][] = [
    ["the starter voice", () => [starter(), {}]],
    ...[
      "custom-ryan-english-whole",
      "custom-ryan-english-stream",
      "xvector-stream",
      "icl-whole",
      "icl-stream",
    ].map((name): [string, () => [string, SpeakOptions]] => [name, () => spokenBy(name)]),
  ];
  const manyLanes = cases.flatMap(([name, of]) =>
    (/starter|stream/.test(name) ? [1, 3] : [1]).map((lanes) => [name, lanes, of] as const),
  );

  test.each(manyLanes)("%s in %d lanes", async (_name, lanes, of) => {
    const [model, options] = of();
    const cacheDir = newCache();
    const say = (prefixCache: OpenOptions["prefixCache"], times: number) =>
      withEngine({ model, lanes, prefixCache, cacheDir }, async (engine) => {
        const first = await Promise.all(
          Array.from({ length: lanes }, (_, i) => speak(engine, `${TEXT} ${"Yes. ".repeat(i)}`, options)),
        );
        const more: Spoken[] = [];
        for (let i = 1; i < times; i++) more.push(await speak(engine, TEXT, options));
        return { first: first.map(sound), all: [first[0], ...more] };
      });
    const off = await say("off", 2);
    expect(off.all.map(({ cachedRows }) => cachedRows)).toEqual([0, 0]);
    expect(existsSync(folderOf(cacheDir))).toBe(false);
    const memory = await say("memory", 3);
    expect(existsSync(folderOf(cacheDir))).toBe(false);
    const disk = [await say("disk", 1), await say("disk", 1), await say("disk", 2)];
    for (const { all, first } of [off, memory, ...disk]) {
      expect(first).toEqual(off.first);
      for (const spoken of all) expect(sound(spoken)).toEqual(off.first[0]);
    }
    for (const { cachedRows, rows } of memory.all.slice(1)) expect(cachedRows).toBe(rows);
    expect(off.all.map(({ savedMs }) => savedMs)).toEqual([0, 0]);
    // recalling takes some time, and seldom more than computing
    for (const { savedMs } of memory.all.slice(1)) expect(savedMs).not.toBe(0);
    expect(disk[2].all.map(({ cachedRows, rows }) => cachedRows === rows)).toEqual([true, true]);
  });

  test("memory keeps the prompts of the last 640 positions, however small they are", async () => {
    const options = { model: starter(), prefixCache: "memory", cacheDir: newCache() } as const;
    await withEngine(options, async (engine) => {
      const say = (text: string) => speak(engine, text, { maxFrames: 1 });
      const { rows } = await say(TEXT);
      /** Says other texts that have at least so many positions. */
      const others = async (positions: number, name: string) => {
        for (let i = 0, said = 0; said < positions; i++)
          said += (await say(`${name}, the kettle of number ${i} is ready and boils.`)).rows;
      };
      await others(PREFIX_LIMITS.memoryPositions / 2, "Anna");
      expect((await say(TEXT)).cachedRows).toBe(rows);
      await others(PREFIX_LIMITS.memoryPositions, "Bob");
      expect((await say(TEXT)).cachedRows).toBeWithin(1, rows);
    });
  });

  test("a voice in context is on disk after its first sentence", async () => {
    const [model, options] = spokenBy("icl-whole");
    const cacheDir = newCache();
    await withEngine({ model, prefixCache: "disk", cacheDir }, (engine) => speak(engine, TEXT, options));
    expect(statesIn(cacheDir).length).toBe(1);
    const other = await withEngine({ model, prefixCache: "disk", cacheDir }, (engine) =>
      speak(engine, "Something else.", options),
    );
    expect(other.cachedRows).toBeWithin(10, other.rows);
  });

  /** An engine on the starter voice that finds all of TEXT on disk. */
  async function filledCache(
    model = starter(),
  ): Promise<{ model: string; prefixCache: "disk"; cacheDir: string }> {
    const options = { model, prefixCache: "disk", cacheDir: newCache() } as const;
    const known = await withEngine(options, async (engine) => [
      await speak(engine, TEXT),
      await speak(engine, TEXT),
    ]);
    expect(known[1].cachedRows).toBe(known[1].rows);
    expect(statesIn(options.cacheDir).length).toBeGreaterThan(0);
    return options;
  }
  const withoutCache = (model: string) =>
    withEngine({ model, prefixCache: "off" }, async (engine) => sound(await speak(engine, TEXT)));

  test("damaged files change nothing and are made again", async () => {
    const options = await filledCache();
    for (const name of statesIn(options.cacheDir)) {
      const file = readFileSync(join(folderOf(options.cacheDir), name));
      writeFileSync(join(folderOf(options.cacheDir), name), file.fill(0xff, file.length / 2));
    }
    const again = await withEngine(options, (engine) => speak(engine, TEXT));
    expect([again.cachedRows, sound(again)]).toEqual([0, await withoutCache(options.model)]);
    const rebuilt = await withEngine(options, (engine) => speak(engine, TEXT));
    expect([rebuilt.cachedRows, sound(rebuilt)]).toEqual([rebuilt.rows, sound(again)]);
  });

  test("other weights in the same place, of the same size and date, know nothing", async () => {
    const model = join(newCache(), "changed");
    cpSync(starter(), model, { recursive: true });
    const options = await filledCache(model);
    const before = await withoutCache(model);
    const file = join(model, BUNDLE_FILES.talker);
    const { atime, mtime } = statSync(file);
    const bytes = readFileSync(file);
    // some weights in the place of others
    bytes.copyWithin(bytes.length - 200_000, bytes.length - 100_000, bytes.length - 50_000);
    writeFileSync(file, bytes);
    utimesSync(file, atime, mtime);
    const after = await withEngine(options, (engine) => speak(engine, TEXT));
    expect([after.cachedRows, sound(after)]).toEqual([0, await withoutCache(model)]);
    expect(after.codes).not.toEqual(before.codes);
  });

  test("two engines at once share a folder, and files may vanish at any time", async () => {
    const options = await filledCache();
    const expected = await withoutCache(options.model);
    const many = (engine: Engine) => Array.fromAsync([1, 2, 3], () => speak(engine, TEXT));
    const vanish = async () => {
      for (const name of statesIn(options.cacheDir)) rmSync(join(folderOf(options.cacheDir), name));
      return [];
    };
    const all = await Promise.all([withEngine(options, many), withEngine(options, many), vanish()]);
    for (const spoken of all.flat()) expect(sound(spoken)).toEqual(expected);
  });

  test("a cache that cannot be written to is no error", async () => {
    const file = join(newCache(), "file");
    writeFileSync(file, "");
    const options = { model: starter(), prefixCache: "disk", cacheDir: file } as const;
    const spoken = await withEngine(options, async (engine) => [
      await speak(engine, TEXT),
      await speak(engine, TEXT),
    ]);
    for (const each of spoken) expect(sound(each)).toEqual(await withoutCache(options.model));
    if (process.getuid?.() === 0) return; // no mode stops root
    const closed = await filledCache();
    chmodSync(folderOf(closed.cacheDir), 0o500);
    expect((await withEngine(closed, (engine) => speak(engine, "Good night."))).codes.length).toBeGreaterThan(
      0,
    );
    chmodSync(folderOf(closed.cacheDir), 0o700);
  });
});

test("the setting is disk unless something else is asked for", () => {
  expect(loadConfig({}, {}).prefixCache).toBe("disk");
  for (const choice of PREFIX_CACHE_CHOICES)
    expect(loadConfig({}, { TTS_PREFIX_CACHE: choice }).prefixCache).toBe(choice);
  expect(loadConfig({ prefixCache: "off" }, { TTS_PREFIX_CACHE: "disk" }).prefixCache).toBe("off");
  expect(() => loadConfig({}, { TTS_PREFIX_CACHE: "ram" })).toThrow('TTS_PREFIX_CACHE is "ram"');
});
