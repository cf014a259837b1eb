// tts models as a person calls it: listing, verifying, removing; what speaking and decoding say of a cache
// that is damaged, read-only or full.

import { describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { FORMS, openBundle } from "../../src/formats/bundle.ts";
import { checkpointFolder, ROOT } from "../_support.ts";
import { newFolder, shell } from "./_tts.ts";

const SPEAK = "$TTS Hi. --max-frames 2 --quiet -o x.wav";
/** A folder with a checkpoint `m` and a cache `c` in which it is converted. */
const folder = newFolder();
cpSync(checkpointFolder("tiny-custom"), join(folder, "m"), { recursive: true });
const run = (command: string, cwd = folder) => shell(`export TTS_CACHE=$PWD/c; ${command}`, cwd);
await run(`${SPEAK} -m m`);
const [bundle] = readdirSync(join(folder, "c/bundles")).map((name) => join(folder, "c/bundles", name));
/** A bit of weights, so that everything loads; the date stays. */
const DAMAGE = `printf x | dd of=${bundle}/vocoder.onnx.data bs=1 seek=70000 conv=notrunc status=none`;
const FORGET = `cp -p ${bundle}/vocoder.onnx.data date; ${DAMAGE}; touch -r date ${bundle}/vocoder.onnx.data`;

describe("tts models --verify", () => {
  test("has a line for everything, and status 3 for damage that nobody heard", async () => {
    expect(await run("$TTS models --verify")).toEqual({
      status: 0,
      stdout: `whole    bundle ${bundle}\n`,
      stderr: "",
    });
    await run(FORGET);
    const damaged = await run("$TTS models --verify");
    expect(damaged.status).toBe(3);
    expect(damaged.stdout).toStartWith(
      `damaged  bundle ${bundle}: ${bundle}/vocoder.onnx.data has other bytes`,
    );
    expect(damaged.stderr).toBe("tts: 1 of 1 in the cache is damaged; its next use makes it again\n");
    const again = await run("$TTS Hi. --max-frames 2 -o x.wav -m m");
    expect(again.status).toBe(0);
    expect(again.stderr).toStartWith("tts: warning: preparing m again: ");
    expect((await run("$TTS models --verify --json")).stdout).toContain('"state": "whole"');
  });

  test("does not call a bundle damaged that another version of the program made", async () => {
    const manifest = join(bundle, "bundle.json");
    const text = readFileSync(manifest, "utf8");
    writeFileSync(manifest, text.replace(/"version": *\d+/, '"version": 4'));
    expect(await run("$TTS models --verify")).toEqual({
      ...{ status: 0, stderr: "" },
      stdout: `outdated bundle ${bundle}\n`,
    });
    writeFileSync(manifest, text);
  });
});

describe("tts models rm", () => {
  test("says what it removed, and refuses what a process uses", async () => {
    const child = spawn("bash", ["-c", `exec $TTS serve --sockets ${folder}/s -m m`], {
      cwd: folder,
      env: { ...process.env, TTS_CACHE: join(folder, "c"), TTS: `${process.execPath} ${ROOT}/tts.ts` },
    });
    try {
      while (!existsSync(join(folder, "s/vocoder.sock"))) await Bun.sleep(50);
      const refused = await run("$TTS models rm m");
      expect(refused.stderr).toMatch(/^tts: process \d+ uses m; end it, then try again\n$/);
      expect(existsSync(bundle)).toBe(true);
    } finally {
      child.kill();
      await new Promise((resolve) => child.once("exit", resolve));
    }
    const removed = await run("$TTS models rm m");
    expect(removed).toMatchObject({ status: 0, stdout: "" });
    expect(removed.stderr).toMatch(new RegExp(`^removed ${bundle}: \\d+\\.\\d MB freed\n$`));
    expect([existsSync(bundle), existsSync(join(folder, "m/config.json"))]).toEqual([false, true]);
  });

  test.each([
    ["models rm", /models rm got 0 arguments/],
    ["models rm a b", /models rm got 2 arguments/],
    ["models rn starter", /models cannot "rn"; did you mean rm\?/],
    ["models rm startr", /no model "startr"; did you mean starter\?/],
  ])("%s is refused", async (command, message) => {
    const { status, stderr } = await run(`$TTS ${command}`);
    expect(status).toBeGreaterThan(1);
    expect(stderr).toMatch(message);
  });
});

test("another form is added with a plain line, which warns of nothing", async () => {
  for (const form of ["llama", "ort"]) await run(`${SPEAK} -m m --talker ${form} --predictor ${form}`);
  const manifest = join(bundle, "bundle.json");
  const { files, ...rest } = JSON.parse(readFileSync(manifest, "utf8"));
  const { "talker.onnx": _, ...others } = files;
  writeFileSync(manifest, JSON.stringify({ ...rest, files: others }));
  rmSync(join(bundle, ".source.json")); // the manifest is taken as it is
  const { status, stderr } = await run("$TTS Hi. --max-frames 2 -o x.wav -m m --talker ort");
  expect([status, stderr]).toEqual([
    0,
    expect.stringMatching(/^preparing the ort form of the talker for m\n(?!.*preparing)/s),
  ]);
});

test("a dry run says what speaking would make again, and why", async () => {
  await run(`${SPEAK} -m m --talker llama`);
  const manifest = join(bundle, "bundle.json");
  const [text, dryRun] = [readFileSync(manifest, "utf8"), "$TTS --dry-run Hi. -m m --talker"];
  expect(await run(`${dryRun} llama`)).toEqual({ status: 0, stdout: "Hi.\n", stderr: "" });
  const arranged = { code: "x86 of old", files: ["talker.gguf"] };
  writeFileSync(manifest, JSON.stringify({ ...JSON.parse(text), arranged }));
  rmSync(join(bundle, ".source.json")); // the manifest is taken as it is
  expect(await run(`${dryRun} llama`)).toEqual({
    ...{ status: 0, stdout: "Hi.\n" },
    stderr: `m would be prepared again: ${bundle}/talker.gguf is laid out for another processor or library (x86 of old)\n`,
  });
  expect((await run(`${dryRun} ort`)).stderr).toBe("");
  expect((await run("$TTS Hi. --max-frames 2 -o x.wav -m m --talker llama")).stderr).toContain(
    "preparing m again: ",
  );
  writeFileSync(manifest, "{}");
  expect((await run(`${dryRun} llama`)).stderr).toStartWith(`m would be prepared again: ${manifest}: `);
});

test("codes say which model made them: another one warns", async () => {
  await run(`${SPEAK} -m m --save-codes codes.json`);
  expect((await run("$TTS decode codes.json -m m -o y.wav --quiet")).stderr).toBe("");
  cpSync(checkpointFolder("tiny-eos"), join(folder, "other"), { recursive: true });
  const { status, stderr } = await run("$TTS decode codes.json -m other -o y.wav");
  expect(status).toBe(0);
  expect(stderr).toContain("tts: warning: codes.json was made by another model than other");
});

test("convert makes what speaking makes, without a choice", async () => {
  await run("$TTS convert m -o by-hand");
  expect(openBundle(join(folder, "by-hand")).manifest.weights).toEqual({ talker: "f32", predictor: "f32" });
});

describe("a cache", () => {
  const asNobody = process.getuid?.() === 0 ? "setpriv --reuid=65534 --clear-groups " : "";

  /** Root may write anywhere, and nobody cannot read a home. */
  const canBeOther = spawnSync("bash", ["-c", `${asNobody}test -r ${ROOT}/tts.ts`]).status === 0;
  test.skipIf(!canBeOther)(
    "that cannot be written serves the same checkpoint at another place, and names its variable for others",
    async () => {
      const place = newFolder();
      // the folders of a whole run are its owner's alone
      for (let above = dirname(place); above.startsWith(`${tmpdir()}/`); above = dirname(above))
        chmodSync(above, 0o711);
      chmodSync(place, 0o777);
      cpSync(checkpointFolder("tiny-custom"), join(place, "m"), { recursive: true });
      await run(`${SPEAK} -m m`, place);
      cpSync(join(place, "m"), join(place, "home2/m"), { recursive: true });
      cpSync(checkpointFolder("tiny-eos"), join(place, "other"), { recursive: true });
      await run("chmod -R a+rX . && chmod -R a-w c", place);
      const speak = `${asNobody}${SPEAK.replace("x.wav", "theirs.wav")}`;
      try {
        expect(await run(`${speak} -m home2/m`, place)).toMatchObject({ status: 0 });
        const { status, stderr } = await run(`${speak} -m other`, place);
        expect([status, stderr]).toEqual([
          5,
          expect.stringMatching(/^tts: cannot write .* set TTS_CACHE to a folder/),
        ]);
        const [made] = readdirSync(join(place, "c/bundles")).map((name) => join(place, "c/bundles", name));
        const { talker } = FORMS;
        const [missing] = (["llama", "ort"] as const).filter(
          (form) => !existsSync(join(made, talker[form].main)),
        );
        expect(await run(`${speak} -m m --talker ${missing}`, place)).toMatchObject({
          status: 5,
          stderr:
            `tts: ${made} lacks the ${missing} form of the talker, and the cache cannot be written; ` +
            "choose --talker auto, or set TTS_CACHE to a folder with room that you may write to\n",
        });
      } finally {
        await run("chmod -R u+w c", place);
      }
    },
  );

  test("that is a file is status 5 with the real reason", async () => {
    writeFileSync(join(folder, "file"), "");
    const { status, stderr } = await shell(`TTS_CACHE=$PWD/file/c ${SPEAK} -m m`, folder);
    expect([status, stderr]).toEqual([
      5,
      expect.stringMatching(
        /^tts: cannot make the cache folder .*a part of its path is no folder.*TTS_CACHE/,
      ),
    ]);
  });
});
