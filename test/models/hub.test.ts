// Pulling models from a hub on this machine: what arrives, what is asked for, and every way in which it can
// go wrong. No real network.

import { describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { findPulled } from "../../src/models/catalog.ts";
import { checkSpace, type Downloaded } from "../../src/models/pull.ts";
import {
  CODEC,
  clientOf,
  directoryOf,
  FakeHub,
  failure,
  ID,
  keptBytes,
  LIMITS,
  MAIN,
  NEEDED,
  newCache,
  TOKEN,
} from "../_hub.ts";
import { patient, scratchFolder } from "../_support.ts";

const hub = FakeHub.duringTests();

const { fetchOnly, hubConfig } = clientOf(hub);

describe("fetching", () => {
  test("large files come in ranges over several connections", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path }) => (path.startsWith("/cdn/") ? { slow: 20_000 } : null);
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    const ranges = hub.seen.filter(({ path }) => path === `/cdn/${MAIN}`).map(({ range }) => range);
    expect(ranges.toSorted()).toEqual(
      Array.from(
        { length: 7 },
        (_, i) => `bytes=${i * 300_000}-${Math.min(hub.size(MAIN), (i + 1) * 300_000) - 1}`,
      ).toSorted(),
    );
    expect(hub.sent(MAIN)).toBe(hub.size(MAIN));
  });

  test("a server that ignores ranges sends the whole file", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path, count }) =>
      path.startsWith("/cdn/") ? { ignoreRange: true, ...(count === 2 ? { cutAfter: 900_000 } : {}) } : null;
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
  });

  test("a cut connection goes on at its byte", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path, count }) => (path.startsWith("/cdn/") && count < 6 ? { cutAfter: 150_000 } : null);
    const { fetched } = await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(fetched).toBe(NEEDED.reduce((sum, name) => sum + hub.size(name), 0));
    expect(hub.sent(MAIN)).toBe(hub.size(MAIN));
  });

  test("a cut in one piece without ranges is mended by asking for the rest", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path, count }) =>
      path.endsWith("vocab.json") && count === 0 ? { cutAfter: 5_000 } : null;
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(hub.seen.filter(({ path }) => path.endsWith("/vocab.json")).map(({ range }) => range)).toEqual([
      null,
      `bytes=5000-${hub.size("vocab.json") - 1}`,
    ]);
  });

  test("a file that changed on the server starts anew", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path }) =>
      path === `/cdn/${MAIN}` ? { cutAfter: 200_000, headers: { etag: '"old"' } } : null;
    await failure(fetchOnly(cacheDir, { limits: { ...LIMITS, attempts: 1 } }));
    hub.reset();
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(hub.sent(MAIN)).toBeGreaterThanOrEqual(hub.size(MAIN));
  });

  test("silence counts as a cut", async () => {
    const [cacheDir, stallMs] = [newCache(), patient(200)];
    hub.fault = ({ path, count }) =>
      path === `/cdn/${MAIN}` && count === 0 ? { silentMs: 15 * stallMs } : null;
    const notes: string[] = [];
    await fetchOnly(cacheDir, { limits: { ...LIMITS, stallMs }, onNote: (note) => notes.push(note) });
    hub.expectWholeIn(cacheDir);
    expect(notes.join()).toContain(`nothing came for ${stallMs / 1000} s; trying again in`);
  });

  test("500 twice is tried again, and 429 waits as long as it asks", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path, count }) => {
      if (path.startsWith("/api/") && count < 2) return { status: 500 };
      return path.endsWith("/vocab.json") && count === 0
        ? { status: 429, headers: { "retry-after": "1" } }
        : null;
    };
    const before = performance.now();
    await fetchOnly(cacheDir);
    expect(performance.now() - before).toBeGreaterThan(1_000);
    hub.expectWholeIn(cacheDir);
  });

  test("gives up after a bounded number of attempts, and keeps what came", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path }) => (path === `/cdn/${MAIN}` ? { cutAfter: 1_000 } : null);
    const error = await failure(fetchOnly(cacheDir, { limits: { ...LIMITS, connections: 1 } }));
    expect(error).toMatchObject({ code: "HUB_UNREACHABLE", exitStatus: 7 });
    expect(error.message).toContain("(6 attempts)");
    expect(keptBytes(join(directoryOf(cacheDir), MAIN))).toBe(6_000);
    hub.reset();
    await fetchOnly(cacheDir);
    expect(hub.sent(MAIN)).toBe(hub.size(MAIN) - 6_000);
    hub.expectWholeIn(cacheDir);
  });

  test("a wait that is too long is an error", async () => {
    hub.fault = () => ({ status: 429, headers: { "retry-after": "86400" } });
    expect((await failure(fetchOnly(newCache()))).message).toContain("answers 429 and asks to wait 86400 s");
  });

  const other = (path: string, change: (bytes: Buffer) => void) => {
    const body = Buffer.from(hub.files.get(path)!);
    change(body);
    return body;
  };
  test.each([MAIN, "vocab.json", "speech_tokenizer/config.json"])(
    "wrong bytes in %s are deleted",
    async (name) => {
      const cacheDir = newCache();
      const body = other(name, (bytes) => bytes.fill(bytes[9] ^ 1, 9, 10));
      hub.fault = ({ host, path }) =>
        path.endsWith(`/${name}`) && (host === "cdn" || !name.endsWith(".safetensors")) ? { body } : null;
      const error = await failure(fetchOnly(cacheDir));
      expect(error).toMatchObject({
        code: "HUB_MISMATCH",
        exitStatus: 3,
        hint: "it was deleted; pull again",
      });
      expect(error.message).toMatch(/came damaged: its (SHA-256|git SHA-1) is [0-9a-f]+, not [0-9a-f]+/);
      const folder = join(directoryOf(cacheDir), dirname(name));
      expect(readdirSync(folder).filter((file) => file.startsWith(basename(name)))).toEqual([]);
      expect(findPulled(cacheDir, ID)).toBeNull();
      hub.reset();
      await fetchOnly(cacheDir);
      hub.expectWholeIn(cacheDir);
    },
  );

  test.each([MAIN, "vocab.json"])("a wrong size of %s is noticed before its bytes are kept", async (name) => {
    const cacheDir = newCache();
    const body = hub.files.get(name)!.subarray(1);
    hub.fault = ({ host, path }) =>
      path.endsWith(`/${name}`) && (host === "cdn" || name === "vocab.json") ? { body } : null;
    const error = await failure(fetchOnly(cacheDir));
    expect(error.message).toBe(
      `${name} has ${hub.size(name) - 1} bytes at the hub, not the ${hub.size(name)} it should have`,
    );
    expect(readdirSync(directoryOf(cacheDir)).filter((file) => file.includes(name))).toEqual([]);
  });

  test.each([401, 403])("%d names HF_TOKEN and never the token", async (status) => {
    hub.fault = () => ({ status });
    const cacheDir = newCache();
    const without = await failure(fetchOnly(cacheDir));
    expect(without).toMatchObject({ code: "HUB_REFUSED", exitStatus: 7 });
    expect(without.hint).toContain("set HF_TOKEN if it is private");
    const withToken = await failure(fetchOnly(cacheDir, { hub: hubConfig(cacheDir, { token: TOKEN }) }));
    expect(withToken.hint).toContain("the token may not read it");
  });

  test("a stored token goes to the hub alone", async () => {
    const cacheDir = newCache();
    mkdirSync(join(cacheDir, "hf"));
    writeFileSync(join(cacheDir, "hf/token"), ` ${TOKEN}\n`);
    await fetchOnly(cacheDir);
    const sent = (host: string) =>
      new Set(hub.seen.filter((seen) => seen.host === host).map(({ authorization }) => authorization));
    expect([sent("hub"), sent("cdn")]).toEqual([new Set([`Bearer ${TOKEN}`]), new Set([null])]);
  });

  test("redirects are bounded, and a portal's page is no hub", async () => {
    hub.fault = ({ path }) => ({ status: 302, headers: { location: path } });
    expect((await failure(fetchOnly(newCache()))).message).toContain("redirects more than 5 times");
    const portal = await FakeHub.start("portal/x", new Map());
    portal.fault = () => ({ status: 200 });
    const config = hubConfig(newCache(), { endpoint: portal.endpoint });
    expect((await failure(fetchOnly(newCache(), { hub: config }))).message).toContain(
      "does not answer like a hub",
    );
    portal.stop();
  });

  test("the files that an index names come, whatever they are called; others stay there", async () => {
    const whole = hub.files.get(MAIN)!;
    const files = new Map(hub.files);
    files.delete(MAIN);
    const index = { weight_map: { a: "parts/first.bin", b: "model.safetensors-00002-of-00002.safetensors" } };
    files.set("model.safetensors.index.json", Buffer.from(JSON.stringify(index)));
    files.set("parts/first.bin", whole);
    files.set(index.weight_map.b, Buffer.from("second"));
    files.set("parts/other.bin", Buffer.from("third"));
    const sharded = await FakeHub.start("acme/shards", files);
    const config = hubConfig(newCache(), { endpoint: sharded.endpoint });
    const { directory } = (await fetchOnly(newCache(), { model: "acme/shards", hub: config })).pulled;
    expect(readFileSync(join(directory, "parts/first.bin")).equals(whole)).toBe(true);
    expect(readFileSync(join(directory, index.weight_map.b), "utf8")).toBe("second");
    expect(existsSync(join(directory, "parts/other.bin"))).toBe(false);
    for (const [name, message] of [
      ["gone.safetensors", "acme/shards has no gone.safetensors"],
      ["../config.json", 'a is in "../config.json", which is no file of the checkpoint'],
    ]) {
      const broken = JSON.stringify({ weight_map: { a: name } });
      files.set("model.safetensors.index.json", Buffer.from(broken));
      const refused = fetchOnly(newCache(), { model: "acme/shards", hub: config });
      expect((await failure(refused)).message).toContain(message);
    }
    sharded.stop();
  });

  test("a repository without the files of a checkpoint is refused", async () => {
    const bare = await FakeHub.start("acme/bare", new Map([["config.json", Buffer.from("{}")]]));
    const config = hubConfig(newCache(), { endpoint: bare.endpoint });
    expect((await failure(fetchOnly(newCache(), { model: "acme/bare", hub: config }))).message).toBe(
      "acme/bare has no vocab.json",
    );
    bare.stop();
  });

  test("only a file that was damaged here since comes again", async () => {
    const cacheDir = newCache();
    await fetchOnly(cacheDir);
    const damaged = other(MAIN, (bytes) => bytes.fill(0, 100_000, 100_100));
    writeFileSync(join(directoryOf(cacheDir), MAIN), damaged);
    hub.reset();
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(hub.sent(MAIN)).toBe(hub.size(MAIN));
    expect(hub.sent(CODEC)).toBe(0);
  });

  test("an unchanged file is not read again", async () => {
    const cacheDir = newCache();
    await fetchOnly(cacheDir);
    const path = join(directoryOf(cacheDir), "vocab.json");
    const { atime, mtime } = statSync(path);
    writeFileSync(path, Buffer.alloc(hub.size("vocab.json")));
    utimesSync(path, atime, mtime); // only a test does this, to see whether the file is read
    expect((await fetchOnly(cacheDir)).fetched).toBe(0);
    utimesSync(path, atime, new Date(Date.now() + 1_000));
    expect((await fetchOnly(cacheDir)).fetched).toBe(hub.size("vocab.json"));
    hub.expectWholeIn(cacheDir);
  });

  test("the reported progress grows to the whole, and kept bytes do not count as fetched", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path }) => (path === `/cdn/${MAIN}` ? { cutAfter: 100_000 } : null);
    await failure(fetchOnly(cacheDir, { limits: { ...LIMITS, attempts: 1 } }));
    const kept = keptBytes(join(directoryOf(cacheDir), MAIN));
    hub.reset();
    const told: Downloaded[] = [];
    await fetchOnly(cacheDir, { onDownload: (now) => told.push(now) });
    const total = NEEDED.reduce((sum, name) => sum + hub.size(name), 0);
    expect(told.at(-1)).toEqual({ done: total, total, fetched: hub.size(MAIN) - kept + hub.size(CODEC) });
    expect(told.map(({ done }) => done)).toEqual(told.map(({ done }) => done).toSorted((a, b) => a - b));
  });

  test("a disk that is too small is an error before anything comes", async () => {
    const error = await failure(fetchOnly(newCache(), { convert: true, freeBytes: () => 100_000_000 }));
    expect(error).toMatchObject({ code: "OUTPUT_FAILED", exitStatus: 5 });
    expect(error.message).toMatch(
      /has 100 MB free, but \d+ MB are needed \(5 MB to download, \d MB to convert\)/,
    );
    expect(error.hint).toMatch(/^free \d+ MB, or set TTS_CACHE/);
    expect(hub.sent(MAIN)).toBe(0);
    expect(() => checkSpace({ folder: scratchFolder(), download: 1, bundle: 1 })).not.toThrow();
  });
});
