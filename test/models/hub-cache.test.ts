// What this machine has of a hub already: its own cache, its token, the models that have a name, and the lock
// of a pull.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { loadConfig, loadHubConfig } from "../../src/config.ts";
import { withLock } from "../../src/io/lock.ts";
import { findPulled, KNOWN_MODELS, modelFolder, writeRecord } from "../../src/models/catalog.ts";
import { resolveModel } from "../../src/models/resolve.ts";
import { COMMIT, clientOf, FakeHub, failure, gitOid, ID, MAIN, NEEDED, newCache, TOKEN } from "../_hub.ts";

const hub = FakeHub.duringTests();

const { fetchOnly, hubConfig } = clientOf(hub);

describe("the hub's own cache", () => {
  /** As other programs lay it out: blobs named after their sums, links in a snapshot. */
  function fillCache(cacheDir: string, leaveOut: string[] = [], ref = "main", commit = COMMIT): void {
    const folder = join(cacheDir, "hf/hub/models--acme--tiny-custom");
    const snapshot = join(folder, "snapshots", commit);
    for (const part of [join(folder, "blobs"), join(folder, "refs"), join(snapshot, "speech_tokenizer")])
      mkdirSync(part, { recursive: true });
    if (ref !== "") writeFileSync(join(folder, "refs", ref), commit);
    for (const [name, bytes] of hub.files) {
      if (leaveOut.includes(name)) continue;
      const sum = name.endsWith(".safetensors")
        ? new Bun.CryptoHasher("sha256").update(bytes).digest("hex")
        : gitOid(bytes);
      writeFileSync(join(folder, "blobs", sum), bytes);
      symlinkSync(join(folder, "blobs", sum), join(snapshot, name));
    }
  }

  test("is used instead of the network", async () => {
    const cacheDir = newCache();
    fillCache(cacheDir, ["merges.txt"]);
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(
      hub.seen.filter(({ path }) => !path.startsWith("/api/")).map(({ path }) => basename(path)),
    ).toEqual(["merges.txt"]);
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

  describe("without a network", () => {
    const [DEV, TAGGED] = ["a".repeat(40), "b".repeat(40)];
    const revisionOf = async (cacheDir: string, revision?: string) => {
      const offline = hubConfig(cacheDir, { offline: true });
      return (await fetchOnly(cacheDir, { hub: offline, revision })).pulled.revision;
    };
    /** A cache of three commits; the name of `COMMIT` is main, or nothing. */
    function newHubCache(main = "main"): string {
      const cacheDir = newCache();
      for (const [ref, commit] of [
        [main, COMMIT],
        ["dev", DEV],
        ["v1.0", TAGGED],
      ] as const)
        fillCache(cacheDir, [], ref, commit);
      return cacheDir;
    }

    test("a branch, a tag and a commit are each found, whatever was pulled before", async () => {
      const cacheDir = newHubCache();
      const wanted: [string | undefined, string][] = [
        [undefined, COMMIT],
        ["dev", DEV],
        [undefined, COMMIT],
        ["v1.0", TAGGED],
        [TAGGED.slice(0, 7), TAGGED],
        ["main", COMMIT],
        ["dev", DEV],
      ];
      for (const [revision, commit] of wanted) expect(await revisionOf(cacheDir, revision)).toBe(commit);
      rmSync(join(cacheDir, "hf/hub/models--acme--tiny-custom/refs"), { recursive: true });
      // the records of what was pulled know the names
      expect(await revisionOf(cacheDir, "dev")).toBe(DEV);
      expect(await revisionOf(cacheDir, "main")).toBe(COMMIT);
    });

    test("what no name leads to is refused with the commits that are here", async () => {
      for (const revision of ["nope", "../snapshots", "c".repeat(40)]) {
        expect(await failure(revisionOf(newHubCache(), revision))).toMatchObject({
          code: "MODEL_NOT_HERE",
          message: expect.stringContaining(`revision "${revision}" of ${ID}`),
          hint: expect.stringContaining(DEV),
        });
      }
    });

    test("a cache without refs/main means the commit that nothing names", async () => {
      expect(await revisionOf(newHubCache(""))).toBe(COMMIT);
      const cacheDir = newCache();
      fillCache(cacheDir, [], "", DEV);
      expect(await revisionOf(cacheDir)).toBe(DEV);
    });

    test.each(["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"])("~ in %s is the home", async (variable) => {
      const home = newHubCache();
      const path = { HF_HOME: "~/hf", HF_HUB_CACHE: "~/hf/hub", XDG_CACHE_HOME: "~" }[variable]!;
      const expected = variable === "XDG_CACHE_HOME" ? "huggingface/hub" : "hf/hub";
      const { cacheDir } = loadHubConfig({ HOME: home, [variable]: path });
      expect(cacheDir).toBe(join(home, expected));
    });
  });

  test("is not believed: a damaged blob is left alone", async () => {
    const cacheDir = newCache();
    fillCache(cacheDir);
    writeFileSync(
      join(cacheDir, "hf/hub/models--acme--tiny-custom/snapshots", COMMIT, MAIN),
      Buffer.alloc(hub.size(MAIN)),
    );
    expect((await failure(fetchOnly(cacheDir, { hub: hubConfig(cacheDir, { offline: true }) }))).code).toBe(
      "MODEL_NOT_HERE",
    );
    await fetchOnly(cacheDir);
    hub.expectWholeIn(cacheDir);
    expect(hub.sent(MAIN)).toBe(hub.size(MAIN));
  });
});

describe("the token", () => {
  const home = newCache();
  const files = {
    "a/.cache/huggingface/token": "of-home",
    "hf/token": "of-hf-home\n",
    other: "\tof-path \n",
    blank: " \n",
  };
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), content);
  }
  const tokenWith = (environment: Record<string, string>) => {
    const absolute = Object.entries(environment).map(([key, value]) => [
      key,
      key === "HF_TOKEN" ? value : join(home, value),
    ]);
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
    "%j: what cannot be a token is neither sent nor told",
    (environment) => {
      writeFileSync(join(home, "two lines"), `${TOKEN}\nmore\n`);
      expect(() => tokenWith(environment)).toThrow(/^(HF_TOKEN|\S.*two lines) holds more than a token$/);
    },
  );
});

describe("known models", () => {
  test("the table adds up, and its files are those a pull asks for", () => {
    expect(Object.keys(KNOWN_MODELS)).toEqual([
      "0.6b-base",
      "0.6b-custom",
      "1.7b-base",
      "1.7b-custom",
      "1.7b-design",
    ]);
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
    expect((await failure(fetchOnly(cacheDir, { model: "0.6b-custom", hub: config }))).code).toBe(
      "HUB_REFUSED",
    );
    false_.reset();
    expect((await failure(fetchOnly(cacheDir, { model: "0.6b-custom", hub: config }))).message).toContain(
      `has no revision "${revision}"`,
    );
    const main = { ...{ model: "0.6b-custom", revision: "main" }, hub: config };
    // another revision has no known sums
    expect((await fetchOnly(cacheDir, main)).pulled.revision).toBe(COMMIT);
    false_.stop();
  });

  test("where there are several revisions, the one pulled last is meant", () => {
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

  test.each(["999999999 1", `${process.pid} 1`, "", "rubbish"])(
    "that says %p is taken over",
    async (holder) => {
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
    },
  );
});
