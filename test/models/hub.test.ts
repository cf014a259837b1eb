// Pulling models from a hub on this machine: what arrives, what is asked for, and every way in which it can go wrong. No real network.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type HubConfig, loadConfig, loadHubConfig } from "../../src/config.ts";
import { TtsError } from "../../src/errors.ts";
import { withLock } from "../../src/io/lock.ts";
import { findPulled, KNOWN_MODELS, modelFolder, writeRecord } from "../../src/models/catalog.ts";
import { checkSpace, type Downloaded, type PullOptions, pull } from "../../src/models/pull.ts";
import { resolveModel } from "../../src/models/resolve.ts";
import { CODEC, COMMIT, directoryOf, FakeHub, gitOid, ID, keptBytes, MAIN, NEEDED, newCache, TOKEN } from "../_hub.ts";
import { scratchFolder } from "../_support.ts";

const hub = FakeHub.duringTests();

function hubConfig(cacheDir: string, more: Partial<HubConfig> = {}): HubConfig {
  return { ...loadHubConfig({ HF_ENDPOINT: hub.endpoint, HF_HOME: join(cacheDir, "hf") }), ...more };
}

/** Short waits, small pieces: the golden files are small, too. */
const LIMITS = { pieceBytes: 300_000, backoffMs: 20, progressBytes: 100_000, stallMs: 1_000 };

function fetchOnly(cacheDir: string, more: Partial<PullOptions> = {}) {
  const options = { config: loadConfig({ cacheDir }, {}), hub: hubConfig(cacheDir), model: ID, convert: false };
  return pull({ ...options, limits: LIMITS, ...more });
}

async function failure(work: Promise<unknown>): Promise<TtsError> {
  const error = await work.then(
    () => new Error("it did not fail"),
    (thrown) => thrown,
  );
  if (!(error instanceof TtsError)) throw error;
  expect(`${error.message}${error.hint}`).not.toContain("\n");
  expect(`${error.message}${error.hint}`).not.toContain(TOKEN);
  return error;
}

describe("fetching", () => {
  test("large files come in ranges over several connections", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path }) => (path.startsWith("/cdn/") ? { slow: 20_000 } : null);
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    const ranges = hub.seen.filter(({ path }) => path === `/cdn/${MAIN}`).map(({ range }) => range);
    expect(ranges.toSorted()).toEqual(
      Array.from({ length: 7 }, (_, i) => `bytes=${i * 300_000}-${Math.min(hub.size(MAIN), (i + 1) * 300_000) - 1}`).toSorted(),
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
    hub.fault = ({ path, count }) => (path.endsWith("vocab.json") && count === 0 ? { cutAfter: 5_000 } : null);
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(hub.seen.filter(({ path }) => path.endsWith("/vocab.json")).map(({ range }) => range)).toEqual([
      null,
      `bytes=5000-${hub.size("vocab.json") - 1}`,
    ]);
  });

  test("a file that changed on the server starts anew", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path }) => (path === `/cdn/${MAIN}` ? { cutAfter: 200_000, headers: { etag: '"old"' } } : null);
    await failure(fetchOnly(cacheDir, { limits: { ...LIMITS, attempts: 1 } }));
    hub.reset();
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(hub.sent(MAIN)).toBeGreaterThanOrEqual(hub.size(MAIN));
  });

  test("silence counts as a cut", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path, count }) => (path === `/cdn/${MAIN}` && count === 0 ? { silentMs: 3_000 } : null);
    const notes: string[] = [];
    await fetchOnly(cacheDir, { limits: { ...LIMITS, stallMs: 200 }, onNote: (note) => notes.push(note) });
    hub.expectWholeIn(cacheDir);
    expect(notes.join()).toContain("nothing came for 0.2 s; trying again in");
  });

  test("500 twice is tried again, and 429 waits as long as it asks", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path, count }) => {
      if (path.startsWith("/api/") && count < 2) return { status: 500 };
      return path.endsWith("/vocab.json") && count === 0 ? { status: 429, headers: { "retry-after": "1" } } : null;
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
  test.each([MAIN, "vocab.json", "speech_tokenizer/config.json"])("wrong bytes in %s are deleted", async (name) => {
    const cacheDir = newCache();
    const body = other(name, (bytes) => bytes.fill(bytes[9] ^ 1, 9, 10));
    hub.fault = ({ host, path }) => (path.endsWith(`/${name}`) && (host === "cdn" || !name.endsWith(".safetensors")) ? { body } : null);
    const error = await failure(fetchOnly(cacheDir));
    expect(error).toMatchObject({ code: "HUB_MISMATCH", exitStatus: 3, hint: "it was deleted; pull again" });
    expect(error.message).toMatch(/came damaged: its (SHA-256|git SHA-1) is [0-9a-f]+, not [0-9a-f]+/);
    const folder = join(directoryOf(cacheDir), dirname(name));
    expect(readdirSync(folder).filter((file) => file.startsWith(basename(name)))).toEqual([]);
    expect(findPulled(cacheDir, ID)).toBeNull();
    hub.reset();
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
  });

  test.each([MAIN, "vocab.json"])("a wrong size of %s is noticed before its bytes are kept", async (name) => {
    const cacheDir = newCache();
    const body = hub.files.get(name)!.subarray(1);
    hub.fault = ({ host, path }) => (path.endsWith(`/${name}`) && (host === "cdn" || name === "vocab.json") ? { body } : null);
    const error = await failure(fetchOnly(cacheDir));
    expect(error.message).toBe(`${name} has ${hub.size(name) - 1} bytes at the hub, not the ${hub.size(name)} it should have`);
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
    const sent = (host: string) => new Set(hub.seen.filter((seen) => seen.host === host).map(({ authorization }) => authorization));
    expect([sent("hub"), sent("cdn")]).toEqual([new Set([`Bearer ${TOKEN}`]), new Set([null])]);
  });

  test("redirects are bounded, and a portal's page is no hub", async () => {
    hub.fault = ({ path }) => ({ status: 302, headers: { location: path } });
    expect((await failure(fetchOnly(newCache()))).message).toContain("redirects more than 5 times");
    const portal = await FakeHub.start("portal/x", new Map());
    portal.fault = () => ({ status: 200 });
    const config = hubConfig(newCache(), { endpoint: portal.endpoint });
    expect((await failure(fetchOnly(newCache(), { hub: config }))).message).toContain("does not answer like a hub");
    portal.stop();
  });

  test("a repository without the files of a checkpoint is refused", async () => {
    const bare = await FakeHub.start("acme/bare", new Map([["config.json", Buffer.from("{}")]]));
    const config = hubConfig(newCache(), { endpoint: bare.endpoint });
    expect((await failure(fetchOnly(newCache(), { model: "acme/bare", hub: config }))).message).toBe("acme/bare has no vocab.json");
    bare.stop();
  });

  test("a file that was damaged here since comes again, alone", async () => {
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

  test("a file that is as it was is not read again", async () => {
    const cacheDir = newCache();
    await fetchOnly(cacheDir);
    const path = join(directoryOf(cacheDir), "vocab.json");
    const { atime, mtime } = statSync(path);
    writeFileSync(path, Buffer.alloc(hub.size("vocab.json")));
    utimesSync(path, atime, mtime); // nobody does this but to see whether it is read
    expect((await fetchOnly(cacheDir)).fetched).toBe(0);
    utimesSync(path, atime, new Date(Date.now() + 1_000));
    expect((await fetchOnly(cacheDir)).fetched).toBe(hub.size("vocab.json"));
    hub.expectWholeIn(cacheDir);
  });

  test("what is told on the way grows to the whole, and what was kept did not come", async () => {
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

  test("too small a disk is said before anything comes", async () => {
    const error = await failure(fetchOnly(newCache(), { convert: true, freeBytes: () => 100_000_000 }));
    expect(error).toMatchObject({ code: "OUTPUT_FAILED", exitStatus: 5 });
    expect(error.message).toMatch(/has 100 MB free, but \d+ MB are needed \(5 MB to download, \d MB to convert\)/);
    expect(error.hint).toMatch(/^free \d+ MB, or set TTS_CACHE/);
    expect(hub.sent(MAIN)).toBe(0);
    expect(() => checkSpace({ folder: scratchFolder(), download: 1, bundle: 1 })).not.toThrow();
  });
});

describe("the hub's own cache", () => {
  /** As other programs lay it out: blobs named after their sums, links in a snapshot. */
  function fillCache(cacheDir: string, leaveOut: string[] = []): void {
    const folder = join(cacheDir, "hf/hub/models--acme--tiny-custom");
    const snapshot = join(folder, "snapshots", COMMIT);
    for (const part of [join(folder, "blobs"), join(folder, "refs"), join(snapshot, "speech_tokenizer")])
      mkdirSync(part, { recursive: true });
    writeFileSync(join(folder, "refs/main"), COMMIT);
    for (const [name, bytes] of hub.files) {
      if (leaveOut.includes(name)) continue;
      const sum = name.endsWith(".safetensors") ? new Bun.CryptoHasher("sha256").update(bytes).digest("hex") : gitOid(bytes);
      writeFileSync(join(folder, "blobs", sum), bytes);
      symlinkSync(join(folder, "blobs", sum), join(snapshot, name));
    }
  }

  test("is used instead of the network", async () => {
    const cacheDir = newCache();
    fillCache(cacheDir, ["merges.txt"]);
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(hub.seen.filter(({ path }) => !path.startsWith("/api/")).map(({ path }) => basename(path))).toEqual(["merges.txt"]);
  });

  test("is enough where there is no network", async () => {
    const cacheDir = newCache();
    fillCache(cacheDir);
    const offline = hubConfig(cacheDir, { offline: true });
    await fetchOnly(cacheDir, { hub: offline });
    hub.expectWholeIn(cacheDir);
    expect(hub.seen).toEqual([]);
    rmSync(join(cacheDir, "hf"), { recursive: true });
    const gone = await failure(resolveModel({ config: loadConfig({ cacheDir }, {}), model: ID }));
    expect(gone).toMatchObject({ code: "MODEL_NOT_HERE", hint: `fetch it with: tts pull ${ID}` });
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
  });

  test("is not believed: a damaged blob is left alone", async () => {
    const cacheDir = newCache();
    fillCache(cacheDir);
    writeFileSync(join(cacheDir, "hf/hub/models--acme--tiny-custom/snapshots", COMMIT, MAIN), Buffer.alloc(hub.size(MAIN)));
    expect((await failure(fetchOnly(cacheDir, { hub: hubConfig(cacheDir, { offline: true }) }))).code).toBe("MODEL_NOT_HERE");
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(hub.sent(MAIN)).toBe(hub.size(MAIN));
  });
});

describe("the token", () => {
  const home = newCache();
  const files = { "a/.cache/huggingface/token": "of-home", "hf/token": "of-hf-home\n", other: "\tof-path \n", blank: " \n" };
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), content);
  }
  const tokenWith = (environment: Record<string, string>) => {
    const absolute = Object.entries(environment).map(([key, value]) => [key, key === "HF_TOKEN" ? value : join(home, value)]);
    return loadHubConfig(Object.fromEntries(absolute)).token;
  };

  test.each([
    ["HF_TOKEN before all files", { HF_TOKEN: " mine ", HF_TOKEN_PATH: "other" }, "mine"],
    ["the file of HF_TOKEN_PATH", { HF_TOKEN: "", HF_TOKEN_PATH: "other", HF_HOME: "hf" }, "of-path"],
    ["the file in HF_HOME", { HF_HOME: "hf", HOME: "a" }, "of-hf-home"],
    ["the file in ~/.cache/huggingface", { HOME: "a" }, "of-home"],
    ["none where there is no file", { HF_TOKEN_PATH: "missing", HF_HOME: "hf" }, ""],
    ["none in a blank file", { HF_TOKEN_PATH: "blank" }, ""],
    ["none in a folder", { HF_TOKEN_PATH: "hf" }, ""],
  ])("is %s", (_title, environment, token) => expect(tokenWith(environment)).toBe(token));

  test.each<Record<string, string>>([{ HF_TOKEN: `${TOKEN}\nmore` }, { HF_TOKEN_PATH: "two lines" }])(
    "%j: what can be none is not sent, and not told",
    (environment) => {
      writeFileSync(join(home, "two lines"), `${TOKEN}\nmore\n`);
      expect(() => tokenWith(environment)).toThrow(/^(HF_TOKEN|\S.*two lines) holds more than a token$/);
    },
  );
});

describe("known models", () => {
  test("the table adds up, and its files are those a pull asks for", () => {
    expect(Object.keys(KNOWN_MODELS)).toEqual(["0.6b-base", "0.6b-custom", "1.7b-base", "1.7b-custom", "1.7b-design"]);
    for (const { bytes, files, hub: id, revision } of Object.values(KNOWN_MODELS)) {
      expect(id).toMatch(/^Qwen\/Qwen3-TTS-12Hz-/);
      expect(revision).toMatch(/^[0-9a-f]{12}$/);
      expect(Object.keys(files).toSorted()).toEqual(NEEDED);
      expect(Object.values(files).reduce((sum, file) => sum + file.bytes, 0)).toBe(bytes);
    }
  });

  test("files of a known name that are not the known ones are refused before they come", async () => {
    const { hub: id, revision } = KNOWN_MODELS["0.6b-custom"];
    const false_ = await FakeHub.start(id, hub.files);
    false_.fault = ({ path }) => (path.endsWith("/commits/main") ? { status: 200 } : null);
    const config = hubConfig(newCache(), { endpoint: false_.endpoint });
    const cacheDir = newCache();
    expect((await failure(fetchOnly(cacheDir, { model: "0.6b-custom", hub: config }))).code).toBe("HUB_REFUSED");
    false_.reset();
    expect((await failure(fetchOnly(cacheDir, { model: "0.6b-custom", hub: config }))).message).toContain(`has no revision "${revision}"`);
    const main = { ...{ model: "0.6b-custom", revision: "main" }, hub: config };
    expect((await fetchOnly(cacheDir, main)).pulled.revision).toBe(COMMIT); // another revision has no known sums
    false_.stop();
  });

  test("of several revisions the one pulled last is meant", () => {
    const cacheDir = newCache();
    for (const [i, digit] of ["a", "b"].entries()) {
      const directory = join(modelFolder(cacheDir, ID), digit.repeat(40));
      mkdirSync(directory, { recursive: true });
      writeRecord({ hub: ID, revision: digit.repeat(40), files: [], directory });
      utimesSync(join(directory, ".pulled.json"), 0, 1_000 - i);
    }
    expect(findPulled(cacheDir, ID)?.revision).toBe("a".repeat(40));
    expect(findPulled(cacheDir, ID, "bbb")?.revision).toBe("b".repeat(40));
    expect(findPulled(cacheDir, ID, "ccc")).toBeNull();
  });
});

describe("the lock", () => {
  test("lets one in at a time and is gone afterwards", async () => {
    const path = join(newCache(), ".lock");
    let [inside, most] = [0, 0];
    const work = async () => {
      most = Math.max(most, ++inside);
      await sleep(50);
      inside--;
    };
    await Promise.all([1, 2, 3].map(() => withLock(path, () => {}, work)));
    expect({ most, left: existsSync(path) }).toEqual({ most: 1, left: false });
  });

  test.each(["999999999 1", `${process.pid} 1`, "", "rubbish"])("that says %p is taken over", async (holder) => {
    const path = join(newCache(), ".lock");
    writeFileSync(path, holder);
    const waited: number[] = [];
    expect(
      await withLock(
        path,
        (pid) => waited.push(pid),
        async () => "done",
      ),
    ).toBe("done");
    expect({ waited, left: readdirSync(join(path, "..")) }).toEqual({ waited: [], left: [] });
  });
});
