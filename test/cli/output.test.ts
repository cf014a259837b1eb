// Outputs and inputs that are not plain files, names of stdout, waits that a signal ends, and checks that
// come before any work.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SUFFIXES } from "../../src/audio/encode/formats.ts";
import { WAV_HEADER_BYTES } from "../../src/audio/encode/wav.ts";
import { copyOfCheckpoint, patient, silentCodes } from "../_support.ts";
import { newFolder, shell } from "./_tts.ts";

const SAY = '$TTS -m "$STARTER" "Dinner is ready." --greedy --quiet';
const BYTES = 18 * 1920 * 2 + WAV_HEADER_BYTES;

describe("--trim-start", () => {
  test("leaves out the silence before the sound, and no code", async () => {
    const { status, stderr } = await shell(
      `${SAY} --seed 1 -o a.pcm --save-codes a.json && ${SAY} --seed 1 -o b.pcm --save-codes b.json --trim-start &&
      cmp a.json b.json && $TTS decode a.json -m "$STARTER" --quiet -o c.pcm --trim-start && cmp b.pcm c.pcm &&
      [ $(stat -c %s b.pcm) -lt $(stat -c %s a.pcm) ] && tail -c $(stat -c %s b.pcm) a.pcm | cmp - b.pcm`,
      newFolder(),
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  test("says that nothing is left of a silent speech, and leaves no file; without it, the silence stays", async () => {
    const folder = newFolder();
    const frames = Array.from({ length: 5 }, () => silentCodes(1));
    writeFileSync(join(folder, "silent.json"), JSON.stringify({ frames }));
    const decode = '$TTS decode silent.json -m "$STARTER" -o a.pcm';
    const trimmed = await shell(`${decode} --trim-start`, folder);
    expect(trimmed).toMatchObject({ status: 2, stdout: "" });
    expect(trimmed.stderr).toBe(
      "tts: all 5 frames are silent, so that nothing is left of their sound; leave out --trim-start, or try another text or seed\n",
    );
    expect(readdirSync(folder)).toEqual(["silent.json"]);
    const whole = await shell(decode, folder);
    expect(whole).toMatchObject({ status: 0, stderr: expect.stringContaining("first heard never") });
    expect(readFileSync(join(folder, "a.pcm")).length).toBe(5 * 1920 * 2);
  });
});

describe("names of standard output and of pipes", () => {
  test.each([
    ["/dev/stdout", `${SAY} -o /dev/stdout | cat`],
    ["/dev/fd/3", `${SAY} -o /dev/fd/3 3>&1 | cat`],
    ["a process substitution", `(${SAY} -o >(cat)) | cat`],
    ["a process substitution that is full for a while", `(${SAY} -o >(sleep 1; cat)) | cat`],
    ["a FIFO", `mkfifo fifo; cat fifo & ${SAY} -o fifo; wait; rm fifo`],
  ])("%s gets the sound, and no file is left", async (_name, command) => {
    const folder = newFolder();
    const { stdout } = await shell(command, folder);
    expect({ bytes: stdout.length, start: stdout.slice(0, 4) }).toEqual({ bytes: BYTES, start: "RIFF" });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("pipes stay as they were for the programs that share them", async () => {
    const flags = "grep flags /proc/self/fdinfo/1 /proc/self/fdinfo/2";
    const { stdout } = await shell(
      `(${SAY} -o x.wav; $TTS models; rm x.wav; ${flags}) 2>&1 | cat`,
      newFolder(),
    );
    expect(stdout.match(/flags:\s+\d+/g)).toEqual(["flags:\t01", "flags:\t01"]);
  });

  test.each([
    [
      "--json with /dev/stdout",
      `${SAY} --json -o /dev/stdout | cat; exit \${PIPESTATUS[0]}`,
      /both want standard output/,
    ],
    ["an empty output", `${SAY} -o ""`, /--output is empty/],
    ["an empty output of decode", 'echo "{}" | $TTS decode - -o ""', /--output is empty/],
    ["an empty output of convert", '$TTS convert "$STARTER" -o ""', /--output is empty/],
    ["codes to stdout", `${SAY} --save-codes -`, /--save-codes cannot be standard output/],
    ["codes and sound in one new file", `${SAY} -o x --save-codes ./x`, /cannot hold both/],
    [
      "codes and sound in one file that is there",
      `touch x; ln -s x y; ${SAY} -o x --save-codes y`,
      /cannot hold both/,
    ],
  ])("%s is refused", async (_name, command, message) => {
    const { status, stderr } = await shell(command, newFolder());
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });

  test.each([
    ["--json", `${SAY} --json -o a.wav`, ["a.wav"]],
    ["--help", "$TTS --help", []],
    ["sound", `${SAY} -o -`, []],
    ["licences", "$TTS licences", []],
  ])(
    "%s to a reader that has gone ends as by SIGPIPE; what was finished stays",
    async (_name, command, files) => {
      const folder = newFolder();
      const { status, stderr } = await shell(
        `(sleep 0.1; exec ${command}) | true; exit \${PIPESTATUS[0]}`,
        folder,
      );
      expect({ status, stderr }).toEqual({ status: 141, stderr: "" });
      expect(readdirSync(folder)).toEqual(files);
    },
  );

  test.each([
    ["sound", `${SAY} -o -`],
    ["figures", `${SAY} -o /dev/null --json`],
    ["the version", "$TTS --version"],
    ["licences", "$TTS licences"],
  ])("%s to a standard output that is closed is an error", async (_name, command) => {
    expect(await shell(`${command} >&-`, newFolder())).toEqual({
      status: 5,
      stdout: "",
      stderr: "tts: cannot write stdout: it is closed; give it a file or a pipe\n",
    });
  });

  test("a closed standard output does no harm where nothing is written to it", async () => {
    expect(await shell(`${SAY} -o a.wav >&-`, newFolder())).toEqual({ status: 0, stdout: "", stderr: "" });
  });

  test("codes that cannot be written are noticed before speaking, and leave no sound", async () => {
    const folder = newFolder();
    const { status, stderr } = await shell(`${SAY} -o a.wav --save-codes no/such/codes.json`, folder);
    expect({ status, left: readdirSync(folder) }).toEqual({ status: 5, left: [] });
    expect(stderr).toContain("its folder does not exist");
  });
});

describe("the header of a wav in a file that standard output is has the sound's size", () => {
  test.each([
    ["alone", `${SAY} -o - > a`, [0]],
    ["by another name", `${SAY} -o /dev/stdout > a`, [0]],
    ["behind something", `(printf abc; ${SAY} -o -) > a`, [3]],
    ["appended", `printf abc > a; (${SAY} -o -; ${SAY} -o -) >> a`, [3, 3 + BYTES]],
    ["of decode", `${SAY} --save-codes c -o /dev/null; $TTS decode c -m "$STARTER" --quiet -o - > a`, [0]],
  ])("%s", async (_name, command, starts) => {
    const folder = newFolder();
    expect((await shell(command, folder)).stderr).toBe("");
    const file = readFileSync(join(folder, "a"));
    expect(file.length).toBe(starts.at(-1)! + BYTES);
    for (const at of starts)
      expect([
        file.toString("latin1", at, at + 4),
        file.readUInt32LE(at + 4),
        file.readUInt32LE(at + 40),
      ]).toEqual(["RIFF", BYTES - 8, BYTES - WAV_HEADER_BYTES]);
  });
});

describe("the suffix of the output", () => {
  test.each([
    ["a.wav", BYTES],
    ["a.WAV", BYTES],
    ["a.pcm", BYTES - WAV_HEADER_BYTES],
    ["a.b.raw", BYTES - WAV_HEADER_BYTES],
    ["a", BYTES],
    ["./b.mp3/a", BYTES],
  ])("of %s chooses the format", async (name, bytes) => {
    const folder = newFolder();
    await shell(`mkdir b.mp3; ${SAY} -o ${name}`, folder);
    expect(readFileSync(join(folder, name)).length).toBe(bytes);
  });

  test.each([
    [`${SAY} -o a.m4a`, `a.m4a: .m4a cannot be written; the name may end in ${SUFFIXES.join(", ")}`],
    [`${SAY} -o a.AAC`, `a.AAC: .AAC cannot be written; the name may end in ${SUFFIXES.join(", ")}`],
    [
      "$TTS decode no-such-codes -o a.aiff",
      `a.aiff: .aiff cannot be written; the name may end in ${SUFFIXES.join(", ")}`,
    ],
    [
      `${SAY} -o a.opus --rate 44100`,
      "opus cannot hold 44100 samples a second; choose a rate of 16000, 24000, 48000, or another format",
    ],
    [
      `${SAY} -o a.mp3 --format opus`,
      "--format is opus, but the name a.mp3 means mp3; leave out --format, or choose another name",
    ],
    [
      `${SAY} -o a.raw --format wav`,
      "--format is wav, but the name a.raw means pcm; leave out --format, or choose another name",
    ],
  ])("is refused before anything is made: %s", async (command, line) => {
    const folder = newFolder();
    expect(await shell(command, folder)).toEqual({ status: 2, stdout: "", stderr: `tts: ${line}\n` });
    expect(readdirSync(folder)).toEqual([]);
  });
});

// Beside one another: most of their time is a wait.
describe.concurrent("a signal ends a wait", () => {
  const waits: [what: string, command: string][] = [
    ["for text on stdin", '$TTS -m "$STARTER" -i - -o a.wav'],
    ["for codes on stdin", '$TTS decode - -m "$STARTER" -o a.wav'],
    ["for a FIFO to read", '$TTS -m "$STARTER" -i fifo -o a.wav'],
    ["for the reader of a FIFO", `${SAY} -o fifo`],
  ];
  const cases = waits.flatMap(([what, command]) => [
    { what, command, signal: "INT", status: 130 },
    { what, command, signal: "TERM", status: 143 },
  ]);
  test.each(cases)("$what: $signal", async ({ command, signal, status }) => {
    const folder = newFolder();
    // set -m: without job control, a shell keeps SIGINT from what runs in the background.
    const script = `set -m; mkfifo fifo; exec 9<> <(:); ${command} <&9 & sleep ${patient(700) / 1000}; kill -${signal} $!; wait $!`;
    const before = performance.now();
    const result = await shell(script, folder);
    expect({ status: result.status, left: readdirSync(folder) }).toEqual({ status, left: ["fifo"] });
    expect(performance.now() - before).toBeLessThan(patient(5_000));
  });
});

describe("what needs no model is checked before one is opened", () => {
  const damaged = copyOfCheckpoint("starter", "damaged-early");
  writeFileSync(join(damaged, "config.json"), "{");
  test.each([
    ["Hello. --seed 1.5", /the seed is 1.5/, 2],
    ["Hello. --max-frames 0", /the frame limit is 0/, 2],
    ["Hello. --temperature 0", /temperature is 0/, 2],
    ["Hello. --predictor-top-p 2", /top-p is 2/, 2],
    ["Hello. --threads 0", /threads is 0/, 2],
    ["Hello. -o no/such/a.wav", /its folder does not exist/, 5],
    ["-i /dev/null", /nothing to speak: the text is blank/, 2],
    ["Hello.", /config\.json/, 3],
  ])("%s", async (option, message, status) => {
    const folder = newFolder();
    const result = await shell(`$TTS -m "${damaged}" ${option}`, folder);
    expect(result.stderr).toMatch(message);
    expect({ status: result.status, left: readdirSync(folder) }).toEqual({ status, left: [] });
  });

  test("a code that is too large for any codebook", async () => {
    const folder = newFolder();
    writeFileSync(
      join(folder, "codes.json"),
      JSON.stringify({ frames: [[4294967301, ...Array(15).fill(0)]] }),
    );
    const { status, stderr } = await shell(`$TTS decode codes.json -m "${damaged}"`, folder);
    expect(stderr).toContain("frame 0 is not a list of 16 whole numbers from 0 to 65535");
    expect(status).toBe(2);
  });
});

test.each([
  ["--modle", "--model"],
  ["--sede", "--seed"],
  ["--quite", "--quiet"],
])("%s is taken for %s", async (given, meant) => {
  expect((await shell(`$TTS ${given} x`, newFolder())).stderr).toContain(`did you mean ${meant}?`);
});

test("raw IPA is cut where written text would be", async () => {
  const { stderr } = await shell(
    `$TTS -m "$STARTER" --raw-text "$(printf 'dˈɪnɝ ˈɪz rˈɛdi. %.0s' {1..12})" --greedy --verbose -o /dev/null`,
    newFolder(),
  );
  expect(stderr.match(/^sentence \d+:/gm)).toEqual(["sentence 1:", "sentence 2:"]);
});
