// Pulling and listing models as a user does it: real processes and signals, against a hub on this machine.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type HubFile, KNOWN_MODELS, modelFolder, writeRecord } from "../../src/catalog.ts";
import { CODEC, COMMIT, directoryOf, FakeHub, ID, keptBytes, MAIN, NEEDED, SOURCE } from "../_hub.ts";
import { goldenCases, goldenFile, ROOT, scratchFolder } from "../_support.ts";

const TOKEN = "hf_secret-of-the-tests";

let hub: FakeHub;
beforeAll(async () => {
  hub = await FakeHub.ofTinyCustom();
});
afterAll(() => hub.stop());
beforeEach(() => hub.reset());

const newCache = () => mkdtempSync(join(scratchFolder(), "pull-"));
const size = (path: string) => hub.size(path);
const expectWhole = (cacheDir: string) => expect(hub.whatIsWrong(cacheDir)).toEqual([]);

interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

function start(args: string[], cacheDir: string, environment: Record<string, string> = {}): { child: ChildProcess; done: Promise<Run> } {
  const env = { PATH: process.env.PATH, TTS_CACHE: cacheDir, HF_ENDPOINT: hub.endpoint, HF_HOME: join(cacheDir, "hf"), ...environment };
  const child = spawn(process.execPath, [join(ROOT, "tts.ts"), ...args], { env, cwd: scratchFolder() });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  return { child, done: new Promise((resolve) => child.on("close", (status) => resolve({ status, stdout, stderr }))) };
}

const tts = (args: string[], cacheDir: string, environment: Record<string, string> = {}) => start(args, cacheDir, environment).done;

/** Waits for at most 10 s. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1_000 && !condition(); i++) await sleep(10);
  expect(condition()).toBe(true);
}

describe("tts pull", () => {
  test("fetches, converts, is listed, and speaks the golden codes", async () => {
    const cacheDir = newCache();
    const pulled = await tts(["pull", ID], cacheDir, { HF_TOKEN: TOKEN });
    expect({ status: pulled.status, stdout: pulled.stdout }).toEqual({ status: 0, stdout: "" });
    expect(pulled.stderr).toMatch(/^acme\/tiny-custom: \S+, f32 weights; 4\.5 MB fetched, [\d.]+ s\n$/);
    expectWhole(cacheDir);
    expect(hub.seen.filter(({ host }) => host === "hub").every(({ authorization }) => authorization === `Bearer ${TOKEN}`)).toBe(true);
    expect(hub.seen.filter(({ host }) => host === "cdn").map(({ authorization }) => authorization)).toEqual([null, null]);

    const listed = await tts(["models", "--json"], cacheDir);
    const row = JSON.parse(listed.stdout).find(({ name }: { name: string }) => name === ID);
    const abilities = { modelType: "custom_voice", takesInstruct: false, speakers: 9, languages: 10, dialects: 2 };
    expect(row).toMatchObject({ hub: ID, here: "yes", bundles: [{ weights: "f32" }], abilities });
    expect(row.checkpointBytes).toBeGreaterThan(4_400_000);
    expect((await tts(["models"], cacheDir)).stdout).toMatch(/^acme\/tiny-custom +yes +4\.5 MB +f32 \d+\.\d MB +\d+ speakers,/m);

    const golden = goldenCases().find(({ checkpoint, kind }) => checkpoint === "tiny-custom" && kind === "custom_voice")!;
    const args = [golden.text, "-m", ID, "-l", golden.language, "--greedy", "-o", "/dev/null", "--save-codes", join(cacheDir, "c.json")];
    args.push("--max-frames", String(golden.max_new_tokens - 1), "--text-mode", (golden.non_streaming_mode ?? true) ? "whole" : "stream");
    args.push("-s", golden.speaker || "none", "--json", ...(golden.instruct === undefined ? [] : ["--instruct", golden.instruct]));
    const spoken = await tts(args, cacheDir);
    expect({ status: spoken.status, error: spoken.status === 0 ? "" : spoken.stderr }).toEqual({ status: 0, error: "" });
    expect(JSON.parse(spoken.stdout).model).toBe(ID);
    const { frames } = JSON.parse(readFileSync(join(cacheDir, "c.json"), "utf8"));
    expect(frames.flat()).toEqual(Array.from(goldenFile(golden).ints("codes")));
  });

  test("a second pull fetches nothing, and offline it asks nothing", async () => {
    const cacheDir = newCache();
    await tts(["pull", ID, "--no-convert"], cacheDir);
    hub.reset();
    expect((await tts(["pull", ID, "--no-convert"], cacheDir)).stderr).toContain("not converted yet; 0.0 MB fetched");
    expect(hub.seen.every(({ path }) => path.startsWith("/api/"))).toBe(true);
    hub.reset();
    expect((await tts(["pull", ID, "--no-convert"], cacheDir, { HF_HUB_OFFLINE: "1" })).status).toBe(0);
    expect((await tts(["pull", ID, "--no-convert", "--revision", COMMIT.slice(0, 9)], cacheDir)).status).toBe(0);
    expect(hub.seen).toEqual([]);
  });

  test("a directory is converted, and a bundle is ready as it is", async () => {
    const cacheDir = newCache();
    const { status, stderr } = await tts(["pull", SOURCE, "--weights", "f32"], cacheDir);
    expect({ status, last: stderr.trim().split("\n").length }).toEqual({ status: 0, last: 1 });
    const bundle = stderr.trim().split(": ")[1];
    expect((await tts(["pull", bundle], cacheDir)).stderr).toContain("nothing to do");
    expect((await tts(["pull", SOURCE, "--no-convert"], cacheDir)).status).toBe(2);
    expect((await tts(["models"], cacheDir)).stdout).toMatch(/tiny-custom +bundle only +- +f32/);
  });

  const wrong: [title: string, args: string[], status: number, message: RegExp, environment?: Record<string, string>][] = [
    ["no model", [], 2, /pull needs one model/],
    ["an unknown name", ["0.6b-custm"], 2, /there is no model "0.6b-custm"; did you mean 0.6b-custom\?/],
    ["an unknown hub id", ["Qwen/Qwen3-TTS-12Hz-0.6B-Bas"], 2, /has no model "Qwen.*; did you mean Qwen\/Qwen3-TTS-12Hz-0.6B-Base\?/],
    ["an unknown revision", [ID, "--revision", "nightly"], 2, /no model|no such revision/],
    ["a commit that is not there", [ID, "--revision", "abcdef1"], 2, /has no revision "abcdef1"/],
    ["an endpoint that is no address", [ID], 2, /HF_ENDPOINT is "hub"/, { HF_ENDPOINT: "hub" }],
    [
      "nothing here and no network allowed",
      ["0.6b-base"],
      2,
      /0.6B-Base is neither in .* nor in .*, and HF_HUB_OFFLINE/,
      { HF_HUB_OFFLINE: "1" },
    ],
    ["a path with dots", ["../x"], 2, /there is no model/],
  ];
  for (const [title, args, status, message, environment] of wrong) {
    test(`says in one line: ${title}`, async () => {
      const result = await tts(["pull", ...args], newCache(), environment);
      expect(result.stderr).toMatch(message);
      expect({ status: result.status, stdout: result.stdout, lines: result.stderr.trim().split("\n").length }).toEqual({
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
    expect(existsSync(join(modelFolder(cacheDir, ID), ".lock"))).toBe(signal === "SIGKILL"); // a dead holder's is taken over
    hub.reset();
    expect((await tts(["pull", ID, "--no-convert"], cacheDir)).status).toBe(0);
    expectWhole(cacheDir);
    expect(hub.sent(MAIN)).toBe(size(MAIN) - kept);
  });

  test("two at once: the second waits, and nothing comes twice", async () => {
    const cacheDir = newCache();
    hub.fault = ({ path }) => (path === `/cdn/${CODEC}` ? { slow: 40_000 } : null);
    const first = start(["pull", ID, "--no-convert"], cacheDir);
    await until(() => existsSync(join(modelFolder(cacheDir, ID), ".lock")));
    const second = await tts(["pull", ID, "--no-convert"], cacheDir);
    expect([(await first.done).status, second.status]).toEqual([0, 0]);
    expect(second.stderr).toContain(`process ${first.child.pid} is pulling ${ID}; waiting for it`);
    expectWhole(cacheDir);
    for (const name of NEEDED) expect(hub.sent(name)).toBe(size(name));
  });
});

describe("known models", () => {
  test("a known name speaks when its checkpoint is here, and says what to do when it is not", async () => {
    const cacheDir = newCache();
    const { hub: id, revision } = KNOWN_MODELS["0.6b-custom"];
    const missing = await tts(["Hello.", "-m", "0.6b-custom", "-o", "/dev/null"], cacheDir);
    expect(missing).toMatchObject({
      status: 2,
      stderr: "tts: 0.6b-custom is not on this machine yet; fetch it with: tts pull 0.6b-custom\n",
    });
    expect((await tts(["Hello.", "-m", "acme/other", "-o", "/dev/null"], cacheDir)).stderr).toContain(
      "acme/other is neither a folder nor a model",
    );
    const full = revision.padEnd(40, "0");
    const directory = join(modelFolder(cacheDir, id), full);
    cpSync(SOURCE, directory, { recursive: true });
    const files = NEEDED.map((path): HubFile => ({ path, bytes: size(path), sha256: null, gitOid: null }));
    writeRecord({ hub: id, revision: full, files, directory });
    const args = ["Hello.", "-o", "/dev/null", "--json", "--seed", "1", "--max-frames", "3"];
    const [byName, byId] = [await tts([...args, "-m", "0.6b-custom"], cacheDir), await tts([...args, "-m", id], cacheDir)];
    expect([byName.status, byId.status]).toEqual([0, 0]);
    expect([byName, byId].map(({ stderr }) => stderr.includes("preparing"))).toEqual([true, false]); // one bundle for both
    expect(JSON.parse(byName.stdout).model).toBe("0.6b-custom");
  });
});
