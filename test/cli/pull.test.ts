// Pulling and listing models as a user does it: real processes and signals, against a hub on this machine.

import { describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type HubFile, KNOWN_MODELS, modelFolder, writeRecord } from "../../src/models/catalog.ts";
import {
  CODEC,
  COMMIT,
  directoryOf,
  FakeHub,
  filesOf,
  ID,
  keptBytes,
  MAIN,
  NEEDED,
  newCache,
  SOURCE,
  TOKEN,
} from "../_hub.ts";
import { GOLDEN, goldenCases, goldenFile, patient, ROOT, scratchFolder } from "../_support.ts";
import { goldenArgs } from "./_tts.ts";

const hub = FakeHub.duringTests();

/** What clears a line of a terminal, so that another takes its place. */
const CLEARED = "\r\x1b[K";

interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

interface Started {
  child: ChildProcess;
  done: Promise<Run>;
}

function start(args: string[], cacheDir: string, environment: Record<string, string> = {}): Started {
  return startProgram([process.execPath, join(ROOT, "tts.ts"), ...args], cacheDir, environment);
}

function startProgram(
  [program, ...args]: string[],
  cacheDir: string,
  environment: Record<string, string> = {},
): Started {
  const places = {
    TTS_CACHE: cacheDir,
    TTS_VOICES: join(cacheDir, "voices"),
    HF_ENDPOINT: hub.endpoint,
    HF_HOME: join(cacheDir, "hf"),
  };
  const child = spawn(program, args, {
    env: { PATH: process.env.PATH, ...places, ...environment },
    cwd: scratchFolder(),
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  return {
    child,
    done: new Promise((resolve) => child.on("close", (status) => resolve({ status, stdout, stderr }))),
  };
}

const tts = (args: string[], cacheDir: string, environment: Record<string, string> = {}) =>
  start(args, cacheDir, environment).done;

/** Waits for at most 10 s, or longer on a busy machine. */
async function until(condition: () => boolean): Promise<void> {
  for (let waitedMs = 0; waitedMs < patient(10_000) && !condition(); waitedMs += 10) await sleep(10);
  expect(condition()).toBe(true);
}

describe("tts pull", () => {
  test("fetches, converts, is listed, and speaks the golden codes", async () => {
    const cacheDir = newCache();
    const pulled = await tts(["pull", ID], cacheDir, { HF_TOKEN: TOKEN });
    expect({ status: pulled.status, stdout: pulled.stdout }).toEqual({ status: 0, stdout: "" });
    expect(pulled.stderr).toMatch(/^acme\/tiny-custom: \S+, f32 weights; 4\.5 MB fetched, [\d.]+ s\n$/);
    hub.expectWholeIn(cacheDir);
    expect(
      hub.seen
        .filter(({ host }) => host === "hub")
        .every(({ authorization }) => authorization === `Bearer ${TOKEN}`),
    ).toBe(true);
    expect(hub.seen.filter(({ host }) => host === "cdn").map(({ authorization }) => authorization)).toEqual([
      null,
      null,
    ]);

    const listed = await tts(["models", "--json"], cacheDir);
    const row = JSON.parse(listed.stdout).find(({ name }: { name: string }) => name === ID);
    const abilities = {
      modelType: "custom_voice",
      takesInstruct: false,
      speakers: 9,
      languages: 10,
      dialects: 2,
    };
    expect(row).toMatchObject({ hub: ID, here: "yes", bundles: [{ weights: "f32" }], abilities });
    expect(row.checkpointBytes).toBeGreaterThan(4_400_000);
    expect((await tts(["models"], cacheDir)).stdout).toMatch(
      /^acme\/tiny-custom +yes +4\.5 MB +f32 \d+\.\d MB +\d+ speakers,/m,
    );

    const golden = goldenCases().find(
      ({ checkpoint, kind }) => checkpoint === "tiny-custom" && kind === "custom_voice",
    )!;
    const args = [
      ...goldenArgs(golden),
      "-m",
      ID,
      "-o",
      "/dev/null",
      "--save-codes",
      join(cacheDir, "c.json"),
      "--json",
    ];
    const spoken = await tts(args, cacheDir);
    expect({ status: spoken.status, error: spoken.status === 0 ? "" : spoken.stderr }).toEqual({
      status: 0,
      error: "",
    });
    expect(JSON.parse(spoken.stdout).model).toBe(ID);
    const { frames } = JSON.parse(readFileSync(join(cacheDir, "c.json"), "utf8"));
    expect(frames.flat()).toEqual(Array.from(goldenFile(golden).ints("codes")));

    const bySpeaker = [
      "Hello.",
      "-s",
      "Ryan",
      "-l",
      "english",
      "--max-frames",
      "2",
      "-o",
      "/dev/null",
      "--json",
    ];
    expect(JSON.parse((await tts(bySpeaker, cacheDir)).stdout).model).toBe(ID);
    const byNobody = await tts(["Hello.", "-s", "nemo", "-o", "/dev/null"], cacheDir);
    expect({ status: byNobody.status, stderr: byNobody.stderr }).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/"nemo"/),
    });
  });

  test("a second pull fetches nothing, and offline it asks nothing", async () => {
    const cacheDir = newCache();
    await tts(["pull", ID, "--no-convert"], cacheDir);
    hub.reset();
    expect((await tts(["pull", ID, "--no-convert"], cacheDir)).stderr).toContain(
      "not converted yet; all was here already",
    );
    expect(hub.seen.every(({ path }) => path.startsWith("/api/"))).toBe(true);
    hub.reset();
    expect((await tts(["pull", ID, "--no-convert"], cacheDir, { HF_HUB_OFFLINE: "1" })).status).toBe(0);
    expect((await tts(["pull", ID, "--no-convert", "--revision", COMMIT.slice(0, 9)], cacheDir)).status).toBe(
      0,
    );
    expect(hub.seen).toEqual([]);
  });

  test("a directory is converted, and a bundle is ready as it is", async () => {
    const cacheDir = newCache();
    const { status, stderr } = await tts(["pull", SOURCE, "--weights", "f32"], cacheDir);
    expect({ status, last: stderr.trim().split("\n").length }).toEqual({ status: 0, last: 1 });
    const bundle = stderr.trim().split(": ")[1];
    expect((await tts(["pull", bundle], cacheDir)).stderr).toContain("nothing to do");
    expect((await tts(["pull", SOURCE, "--no-convert"], cacheDir)).status).toBe(2);
    expect((await tts(["models"], cacheDir)).stdout).toMatch(/tiny-custom +elsewhere +- +f32/);
  });

  const wrong: [
    title: string,
    args: string[],
    status: number,
    message: RegExp,
    environment?: Record<string, string>,
  ][] = [
    ["no model", [], 2, /pull needs one model/],
    ["an unknown name", ["0.6b-custm"], 3, /there is no model "0.6b-custm"; did you mean 0.6b-custom\?/],
    [
      "an unknown hub id",
      ["Qwen/Qwen3-TTS-12Hz-0.6B-Bas"],
      3,
      /has no model "Qwen.*; did you mean Qwen\/Qwen3-TTS-12Hz-0.6B-Base\?/,
    ],
    ["an unknown revision", [ID, "--revision", "nightly"], 3, /no model|no such revision/],
    ["a commit that is not there", [ID, "--revision", "abcdef1"], 3, /has no revision "abcdef1"/],
    ["an endpoint that is no address", [ID], 2, /HF_ENDPOINT is "hub"/, { HF_ENDPOINT: "hub" }],
    [
      "nothing here and no network allowed",
      ["0.6b-base"],
      3,
      /0.6B-Base is neither in .* nor in .*, and HF_HUB_OFFLINE/,
      { HF_HUB_OFFLINE: "1" },
    ],
    ["a path with dots", ["../x"], 3, /there is no model/],
  ];
  for (const [title, args, status, message, environment] of wrong) {
    test(`says in one line: ${title}`, async () => {
      const result = await tts(["pull", ...args], newCache(), environment);
      expect(result.stderr).toMatch(message);
      expect({
        status: result.status,
        stdout: result.stdout,
        lines: result.stderr.trim().split("\n").length,
      }).toEqual({
        status,
        stdout: "",
        lines: 1,
      });
    });
  }

  test.each(["SIGKILL", "SIGINT"] as const)("goes on after %s where it stopped", async (signal) => {
    const cacheDir = newCache();
    hub.fault = ({ path }) => (path === `/cdn/${MAIN}` ? { slow: 20_000 } : null);
    const { child, done } = start(["pull", ID, "--no-convert"], cacheDir);
    const path = join(directoryOf(cacheDir), MAIN);
    await until(() => existsSync(`${path}.part.state`) && keptBytes(path) > 400_000);
    child.kill(signal);
    expect((await done).status).toBe(signal === "SIGINT" ? 130 : null);
    const kept = keptBytes(path);
    expect(existsSync(path)).toBe(false);
    expect(existsSync(join(modelFolder(cacheDir, ID), ".lock"))).toBe(signal === "SIGKILL"); // the next pull takes over a dead one's lock
    hub.reset();
    expect((await tts(["pull", ID, "--no-convert"], cacheDir)).status).toBe(0);
    hub.expectWholeIn(cacheDir);
    expect(hub.sent(MAIN)).toBe(hub.size(MAIN) - kept);
  });

  test.skipIf(Bun.which("script") === null)(
    "a terminal shows one line that goes away, also after Ctrl-C",
    async () => {
      const cacheDir = newCache();
      hub.fault = ({ path, count }) =>
        path === `/cdn/${MAIN}` ? { slow: 10_000, ...(count === 0 ? { cutAfter: 100_000 } : {}) } : null;
      const inTerminal = (columns: number) => {
        const command = `stty cols ${columns}; exec "${process.execPath}" "${join(ROOT, "tts.ts")}" pull ${ID} --no-convert`;
        return startProgram(["script", "-qec", command, "/dev/null"], cacheDir);
      };
      const first = inTerminal(60);
      const path = join(directoryOf(cacheDir), MAIN);
      await until(() => existsSync(`${path}.part.state`) && keptBytes(path) > 400_000);
      first.child.stdin!.write("\x03");
      const { status, stdout } = await first.done;
      expect(status).toBe(130);
      expect(stdout).toEndWith(CLEARED);
      expect(stdout).toContain(`${CLEARED}127.0.0.1`); // a note takes the bar's place
      const lines = stdout.split(CLEARED).filter((line) => /^[█░]/.test(line));
      for (const line of lines) expect(line.replace(/\^C.*/s, "").length).toBeLessThan(60);
      expect(lines.at(-1)).toMatch(/^█*░+ +\d+ % \d\.\d MB of 4\.5 MB, \d\.\d MB\/s, \d+ s left/);
      hub.reset();
      const second = await inTerminal(90).done;
      expect(second.stdout).toContain(`${"█".repeat(24)} 100 % 4.5 MB of 4.5 MB, checking${CLEARED}${ID}: `);
      expect(second.stdout).toEndWith(" s\r\n");
    },
  );

  test("two at once: the second waits, and nothing comes twice", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path }) => (path === `/cdn/${CODEC}` ? { slow: 40_000 } : null);
    const first = start(["pull", ID, "--no-convert"], cacheDir);
    await until(() => existsSync(join(modelFolder(cacheDir, ID), ".lock")));
    const second = await tts(["pull", ID, "--no-convert"], cacheDir);
    expect([(await first.done).status, second.status]).toEqual([0, 0]);
    expect(second.stderr).toContain(`process ${first.child.pid} is pulling ${ID}; waiting for it`);
    hub.expectWholeIn(cacheDir);
    for (const name of NEEDED) expect(hub.sent(name)).toBe(hub.size(name));
  });
});

describe("known models", () => {
  test("a known name speaks when its checkpoint is here, and says what to do when it is not", async () => {
    const cacheDir = newCache();
    const { hub: id, revision } = KNOWN_MODELS["0.6b-custom"];
    const missing = await tts(["Hello.", "-m", "0.6b-custom", "-o", "/dev/null"], cacheDir);
    expect(missing).toMatchObject({
      status: 3,
      stderr: "tts: 0.6b-custom is not on this machine yet; fetch it with: tts pull 0.6b-custom\n",
    });
    expect((await tts(["Hello.", "-m", "acme/other", "-o", "/dev/null"], cacheDir)).stderr).toContain(
      "acme/other is neither a folder nor a model",
    );
    const full = revision.padEnd(40, "0");
    const directory = join(modelFolder(cacheDir, id), full);
    cpSync(SOURCE, directory, { recursive: true });
    const files = NEEDED.map(
      (path): HubFile => ({ path, bytes: hub.size(path), sha256: null, gitOid: null }),
    );
    writeRecord({ hub: id, revision: full, files, directory });
    const args = ["Hello.", "-o", "/dev/null", "--json", "--seed", "1", "--max-frames", "3"];
    const [byName, byId] = [
      await tts([...args, "-m", "0.6b-custom"], cacheDir),
      await tts([...args, "-m", id], cacheDir),
    ];
    expect([byName.status, byId.status]).toEqual([0, 0]);
    // one bundle for both
    expect([byName, byId].map(({ stderr }) => stderr.includes("preparing"))).toEqual([true, false]);
    expect(JSON.parse(byName.stdout).model).toBe("0.6b-custom");
  });
});

describe("a voice", () => {
  const BASE = KNOWN_MODELS["0.6b-base"].hub;
  const tinyBase = filesOf(join(GOLDEN, "tiny-base"));
  const recording = join(GOLDEN, "tiny-base/golden/reference.wav");

  test("is taken with the one Base model that is here, and speaks with the model it was taken with", async () => {
    const cacheDir = newCache();
    const [official, other] = [
      await FakeHub.start(BASE, tinyBase),
      await FakeHub.start("acme/tiny-base", tinyBase),
    ];
    const add = (...more: string[]) =>
      tts(
        ["voices", "add", "anna", "--from", recording, "--text", "The quick brown fox.", ...more],
        cacheDir,
      );
    const speak = () =>
      tts(["Hello from Anna", "--voice", "anna", "--max-frames", "5", "--json", "-o", "anna.wav"], cacheDir);
    expect(await add()).toEqual({
      ...{ status: 3, stdout: "" },
      stderr:
        "tts: there is no Base model on this machine yet; fetch one with: tts pull 0.6b-base or tts pull 1.7b-base\n",
    });

    // the program knows no checksums of the branch main
    await tts(["pull", "0.6b-base", "--revision", "main"], cacheDir, { HF_ENDPOINT: official.endpoint });
    expect((await add()).status).toBe(0);
    const spoken = await speak();
    expect({ status: spoken.status, model: JSON.parse(spoken.stdout).model }).toEqual({
      status: 0,
      model: "0.6b-base",
    });

    await tts(["pull", "acme/tiny-base", "--no-convert"], cacheDir, { HF_ENDPOINT: other.endpoint });
    expect(await add("--force")).toMatchObject({
      status: 2,
      stderr: "tts: there are 2 Base models here; choose one with -m: acme/tiny-base, 0.6b-base\n",
    });
    expect(JSON.parse((await speak()).stdout).model).toBe("0.6b-base");

    rmSync(modelFolder(cacheDir, BASE), { recursive: true });
    const gone =
      "tts: the voice anna was taken with 0.6b-base, which is not on this machine; fetch it with: tts pull 0.6b-base";
    expect(await speak()).toEqual({
      status: 3,
      stdout: "",
      stderr: `${gone}, or choose one of the same width: -m acme/tiny-base\n`,
    });
    rmSync(modelFolder(cacheDir, "acme/tiny-base"), { recursive: true });
    expect((await speak()).stderr).toBe(`${gone}\n`);
    for (const server of [official, other]) server.stop();
  });

  test("of a model given as a directory finds it again; once its bundle is gone, it asks for -m", async () => {
    const cacheDir = newCache();
    await tts(["voices", "add", "anna", "--from", recording, "-m", join(GOLDEN, "tiny-base")], cacheDir);
    const speak = ["Hello.", "--voice", "anna", "--max-frames", "3", "-o", "/dev/null"];
    expect((await tts(speak, cacheDir)).status).toBe(0);
    await tts(["models", "rm", join(GOLDEN, "tiny-base")], cacheDir);
    expect(await tts(speak, cacheDir)).toEqual({
      ...{ status: 3, stdout: "" },
      stderr:
        "tts: the voice anna was taken with tiny-base, which has no name here; give its folder with -m\n",
    });
  });
});
