// Cloned voices through the command line: damaged files, cloning from a wav file to sound, and hostile
// recordings.

import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { wavHeader } from "../../src/audio/encode/wav.ts";
import { readVoiceFile, type VoiceFile, VoiceFolder, voiceToFile } from "../../src/formats/voice.ts";
import {
  bundleOf,
  GoldenFile,
  goldenCases,
  goldenFile,
  maxDifference,
  ROOT,
  scratchFolder,
  wavSamples,
} from "../_support.ts";
import {
  editedBundle,
  MAX_RELATIVE_ERROR,
  QUIET_S16_ERROR,
  quiet,
  relativeError,
} from "../conformance/vocoder.ts";
import { anna } from "../formats/_anna.ts";
import { goldenArgs } from "./_tts.ts";

const newFolder = () => mkdtempSync(join(scratchFolder(), "voices-"));
const reference = new GoldenFile("tiny-base/golden/reference.safetensors");

/** 24 kHz mono 32-bit float: passes through the reader unchanged. */
function floatWav(samples: Float32Array): Buffer {
  const header = Buffer.from(wavHeader(0));
  header.writeUInt16LE(3, 20); // IEEE float
  header.writeUInt32LE(24000 * 4, 28);
  header.writeUInt16LE(4, 32);
  header.writeUInt16LE(32, 34);
  header.writeUInt32LE(4 * samples.length + 36, 4);
  header.writeUInt32LE(4 * samples.length, 40);
  return Buffer.concat([header, Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength)]);
}

function tts(folder: string, ...args: string[]): { status: number; stdout: string; stderr: string } {
  const env = {
    PATH: process.env.PATH,
    TTS_VOICES: join(folder, "voices"),
    TTS_CACHE: join(scratchFolder(), "cache"),
  };
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "tts.ts"), ...args], {
    cwd: folder,
    env,
  });
  return { status: status ?? -1, stdout: stdout.toString(), stderr: stderr.toString() };
}

const base = () => ["-m", bundleOf("tiny-base").directory];

describe("voice files", () => {
  /** Writes the file with a change and the right checksum. */
  const rewrite = (path: string, change: Partial<Record<keyof VoiceFile, unknown>>) => {
    const { sha256: _, ...content } = { ...voiceToFile(anna), ...change };
    const sha256 = new Bun.CryptoHasher("sha256").update(JSON.stringify(content)).digest("hex");
    writeFileSync(path, JSON.stringify({ ...content, sha256 }));
  };
  const damage: [title: string, change: (path: string) => void, message: RegExp][] = [
    ["cut short", (path) => truncateSync(path, 300), /is cut short or no voice file/],
    ["empty", (path) => truncateSync(path, 0), /is cut short or no voice file/],
    [
      "changed",
      (path) => writeFileSync(path, readFileSync(path, "utf8").replace("brown", "green")),
      /do not match its checksum/,
    ],
    [
      "of a newer version",
      (path) => rewrite(path, { version: 2 }),
      /has version 2, this program reads up to 1; use a newer program/,
    ],
    ["of another family", (path) => rewrite(path, { family: "other" }), /is for the model family "other"/],
    ["no voice at all", (path) => writeFileSync(path, "{}"), /is no voice file/],
    ["too large", (path) => truncateSync(path, 9 * 2 ** 20), /is too large for a voice/],
    [
      "with a code of no codebook",
      (path) => rewrite(path, { codes: [Array(16).fill(256)] }),
      /has no usable codes/,
    ],
    [
      "with a frame of 15 codes",
      (path) => rewrite(path, { codes: [Array(15).fill(0)] }),
      /has no usable codes/,
    ],
    [
      "with words for numbers",
      (path) => rewrite(path, { xVector: Array(96).fill("one") }),
      /has no usable xVector/,
    ],
    ["named like a path", (path) => rewrite(path, { name: "../../anna" }), /has no usable name/],
    ["from nowhere", (path) => rewrite(path, { provenance: null }), /has no usable provenance/],
  ];
  test.each(damage)("%s: one line, whatever it is used for", (_title, change, message) => {
    const folder = newFolder();
    const voices = new VoiceFolder(join(folder, "voices"));
    voices.write(anna);
    change(voices.path("anna"));
    expect(() => readVoiceFile(voices.path("anna"))).toThrow();
    for (const args of [
      ["Hello.", "--voice", "anna"],
      ["voices", "import", "voices/anna.voice.json", "b"],
    ]) {
      const { status, stderr, stdout } = tts(folder, ...args);
      expect(stderr).toMatch(message);
      expect({ status, stdout, lines: stderr.trim().split("\n").length }).toEqual({
        status: 2,
        stdout: "",
        lines: 1,
      });
    }
    expect(readdirSync(folder)).toEqual(["voices"]);
    expect(voices.names()).toEqual(["anna"]);
  });
});

describe("cloning", () => {
  test("from a wav file to the official codes and sound", () => {
    const folder = newFolder();
    const golden = goldenCases().find(({ name }) => name === "icl-stream")!;
    writeFileSync(join(folder, "gold.wav"), floatWav(reference.floats("audio_24k")));
    expect(
      tts(
        folder,
        "voices",
        "add",
        "a",
        "--from",
        "gold.wav",
        "--no-tail-silence",
        "--text",
        golden.ref_text!,
        ...base(),
      ).status,
    ).toBe(0);
    const shown = JSON.parse(tts(folder, "voices", "show", "a", "--json").stdout);
    expect(shown.codes.flat()).toEqual(Array.from(reference.ints("codes")));
    expect(maxDifference(shown.xVector, reference.floats("x_vector"))).toBeLessThan(1e-4);
    // Almost all of the golden sound is clipped, so a copy of the model with quieter sound tells more.
    const args = [
      "--voice",
      "a",
      "--save-codes",
      "codes.json",
      "-o",
      "a.wav",
      "-m",
      editedBundle("tiny-base", quiet).directory,
    ];
    expect(tts(folder, ...goldenArgs(golden), ...args).status).toBe(0);
    const codes = JSON.parse(readFileSync(join(folder, "codes.json"), "utf8")).frames.flat();
    expect(codes).toEqual(Array.from(goldenFile(golden).ints("codes")));
    const error = relativeError(wavSamples(join(folder, "a.wav")), goldenFile(golden).floats("audio"));
    expect(error).toBeLessThan(MAX_RELATIVE_ERROR + QUIET_S16_ERROR);
  });

  test("the words of a reference may be in another language", () => {
    const folder = newFolder();
    writeFileSync(join(folder, "gold.wav"), floatWav(reference.floats("audio_24k")));
    expect(
      tts(
        folder,
        "voices",
        "add",
        "a",
        "--from",
        "gold.wav",
        "--text",
        "Съешь ещё этих мягких 法国面包!",
        ...base(),
      ).status,
    ).toBe(0);
    const { status, stdout } = tts(
      folder,
      "Hello.",
      "--voice",
      "a",
      "-l",
      "en",
      "--max-frames",
      "5",
      "--greedy",
      "--json",
      ...base(),
    );
    expect({ status, frames: JSON.parse(stdout).frames }).toEqual({ status: 0, frames: 5 });
  });

  test("half a second of silence follows the reference unless --no-tail-silence is given", () => {
    const folder = newFolder();
    writeFileSync(join(folder, "gold.wav"), floatWav(reference.floats("audio_24k")));
    tts(folder, "voices", "add", "long", "--from", "gold.wav", "--text", "Words.", ...base());
    const { codes, provenance } = JSON.parse(tts(folder, "voices", "show", "long", "--json").stdout);
    expect(provenance.tailSilenceSeconds).toBe(0.5);
    expect(codes.length).toBe(Math.ceil((reference.floats("audio_24k").length + 12000) / 1920));
  });

  test("list, export, import and rm", () => {
    const folder = newFolder();
    new VoiceFolder(join(folder, "voices")).write(anna);
    expect(tts(folder, "voices").stdout).toStartWith("anna ");
    expect(tts(folder, "voices", "export", "anna", "a.json").status).toBe(0);
    expect(tts(folder, "voices", "import", "a.json").stderr).toContain(
      "there is a voice anna already; choose another name, or replace it with --force",
    );
    expect(tts(folder, "voices", "import", "a.json", "--force").status).toBe(0);
    expect(tts(folder, "voices", "import", "a.json", "berta").status).toBe(0);
    expect(tts(folder, "voices", "rm", "anna").status).toBe(0);
    expect(JSON.parse(tts(folder, "voices", "list", "--json").stdout)).toEqual(["berta"]);
    expect(readdirSync(join(folder, "voices"))).toEqual(["berta.voice.json"]);
  });

  test("a voice of another width says so", () => {
    const folder = newFolder();
    new VoiceFolder(join(folder, "voices")).write({ ...anna, xVector: new Float32Array(64) });
    const { status, stderr } = tts(folder, "Hello.", "--voice", "anna", ...base());
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringContaining("is 64 wide, tiny-base is 96 wide"),
    });
  });

  test("a cloned voice with a model that has its own is refused", () => {
    const folder = newFolder();
    new VoiceFolder(join(folder, "voices")).write(anna);
    const { status, stderr } = tts(folder, "Hello.", "--voice", "anna", "-m", bundleOf("starter").directory);
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringContaining("cloned voices need a Base model"),
    });
  });
});

describe("a name that is taken", () => {
  const taken = "tts: there is a voice anna already; choose another name, or replace it with --force\n";

  test("is refused before a recording is read or a model is opened, and replaced with --force", () => {
    const folder = newFolder();
    const voices = new VoiceFolder(join(folder, "voices"));
    voices.write(anna);
    const add = ["voices", "add", "anna", "--from", "gold.wav", ...base()];
    expect(tts(folder, ...add)).toEqual({ status: 5, stdout: "", stderr: taken });
    expect(voices.read("anna")).toEqual(anna);
    writeFileSync(join(folder, "gold.wav"), floatWav(reference.floats("audio_24k")));
    expect(tts(folder, ...add, "--force").status).toBe(0);
    expect(voices.read("anna").text).toBe("");
  });

  test("rename", () => {
    const folder = newFolder();
    const voices = new VoiceFolder(join(folder, "voices"));
    for (const name of ["anna", "berta"]) voices.write({ ...anna, name });
    expect(tts(folder, "voices", "rename", "berta", "anna")).toEqual({
      status: 5,
      stdout: "",
      stderr: taken,
    });
    expect(tts(folder, "voices", "rename", "ryan", "carla").stderr).toStartWith(
      'tts: there is no voice "ryan"; known voices: anna, berta',
    );
    expect(tts(folder, "voices", "rename", "berta", "carla")).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(tts(folder, "voices", "rename", "carla", "anna", "--force").status).toBe(0);
    expect(voices.names()).toEqual(["anna"]);
  });
});

describe("subcommands", () => {
  test("have their own help and take their own options", () => {
    const folder = newFolder();
    const help = (...words: string[]) => tts(folder, "voices", ...words, "--help").stdout;
    expect(help("add")).toMatch(/^NAME\n {4}tts voices add - .*--from FILE.*--no-tail-silence/s);
    expect(help("rename")).toContain("tts voices rename OLD NEW");
    for (const word of ["list", "show", "rm", "rename", "export", "import"]) {
      expect(help(word)).toStartWith(`NAME\n    tts voices ${word} - `);
      expect(help(word)).not.toContain("--from");
      expect(help()).toContain(`tts voices ${word}\n`);
      for (const line of help(word).split("\n")) expect(line.length).toBeLessThanOrEqual(100);
    }
    expect(tts(folder, "voices", "rm", "anna", "--from", "a.wav")).toEqual({
      status: 2,
      stdout: "",
      stderr: "tts: there is no option --from; see --help\n",
    });
    expect(tts(folder, "voices", "ad").stderr).toBe('tts: voices cannot "ad"; did you mean add?\n');
    expect(tts(folder, "voices", "rm").stderr).toBe(
      "tts: voices rm got 0 arguments; write tts voices rm NAME\n",
    );
    expect(tts(folder, "voices", "--json", "list")).toEqual({ status: 0, stdout: "[]\n", stderr: "" });
  });
});

describe("what has no end", () => {
  test.each([
    [["voices", "import", "/dev/zero"]],
    [["Hello.", "--voice", "/dev/zero"]],
    [["voices", "add", "a", "--from", "/dev/zero", "-m", "nothing"]],
  ])("%p is refused", (args) => {
    const { status, stderr, stdout } = tts(newFolder(), ...args);
    expect(stderr).toMatch(
      /^tts: \/dev\/zero (is too large for a voice|has more than 200000000 bytes); .+\n$/,
    );
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  });
});

describe("recordings", () => {
  test("warns of a file that is cut short, and of words that are missing, with both lengths", () => {
    const folder = newFolder();
    const whole = floatWav(reference.floats("audio_24k").slice(0, 48_000));
    writeFileSync(join(folder, "a.wav"), whole.subarray(0, whole.length - 48_000));
    const { status, stderr } = tts(
      folder,
      ...["voices", "add", "a", "--from", "a.wav", "--text", "Hi.", ...base()],
    );
    expect(status).toBe(0);
    expect(stderr.split("\n").slice(0, 2)).toEqual([
      "tts: warning: a.wav is cut short: its header promises 2.00 s, 1.50 s are there",
      "tts: warning: the text has 2 letters, about 0.2 s of speech, but the recording has 1.5 s: speech with this voice may never end; give all the words of the recording",
    ]);
    tts(folder, "voices", "export", "a", "a.json");
    expect(tts(folder, "voices", "import", "a.json", "b").stderr).toStartWith(
      "tts: warning: the text has 2 letters, ",
    );
  });

  const golden = reference.floats("audio_24k");
  const intWav = (samples: Float32Array, bits: 8 | 16, channels: number, rate: number) => {
    const header = Buffer.from(wavHeader(0));
    const bytes = (bits / 8) * channels * samples.length;
    header.writeUInt16LE(channels, 22);
    header.writeUInt32LE(rate, 24);
    header.writeUInt32LE((rate * channels * bits) / 8, 28);
    header.writeUInt16LE((channels * bits) / 8, 32);
    header.writeUInt16LE(bits, 34);
    header.writeUInt32LE(bytes + 36, 4);
    header.writeUInt32LE(bytes, 40);
    const data = Buffer.alloc(bytes);
    samples.forEach((sample, i) => {
      for (let channel = 0; channel < channels; channel++) {
        const at = i * channels + channel;
        if (bits === 8) data.writeUInt8(Math.round(127.5 + 127 * sample), at);
        else data.writeInt16LE(Math.round(32767 * sample), 2 * at);
      }
    });
    return Buffer.concat([header, data]);
  };

  const readable: [title: string, bytes: Buffer][] = [
    ["stereo at 44.1 kHz", intWav(golden, 16, 2, 44100)],
    ["8 bit", intWav(golden, 8, 1, 16000)],
  ];
  test.each(readable)("%s is a voice too", (_title, bytes) => {
    const folder = newFolder();
    writeFileSync(join(folder, "a.wav"), bytes);
    expect(
      tts(folder, "voices", "add", "a", "--from", "a.wav", "--text", "The quick brown fox.", ...base())
        .status,
    ).toBe(0);
    expect(tts(folder, "Hello.", "--voice", "a", "--max-frames", "5", "-o", "b.wav", ...base()).status).toBe(
      0,
    );
    expect(wavSamples(join(folder, "b.wav")).length).toBeGreaterThan(0);
  });

  const unusable: [title: string, bytes: Buffer, message: RegExp][] = [
    [
      "a text file named .wav",
      Buffer.from("this is no sound\n".repeat(100)),
      /a\.wav cannot be decoded: .*; give a wav, flac/,
    ],
    ["an empty file", Buffer.alloc(0), /a\.wav cannot be decoded/],
    ["a header alone", Buffer.from(wavHeader(0)), /a\.wav (cannot be decoded|holds no sound)/],
    ["0.2 s", floatWav(golden.slice(0, 4800)), /recording is 0\.20 s long; give at least 0\.5 s/],
    ["100 samples", floatWav(golden.slice(0, 100)), /recording is 0\.00 s long/],
    ["silence", floatWav(new Float32Array(48000)), /recording is silent: its loudest sample is 0/],
    [
      "ten minutes",
      floatWav(Float32Array.from({ length: 600 * 24000 }, (_, i) => Math.sin(i / 20) / 2)),
      /recording is 600\.0 s long, 60 s at most can be used; cut it/,
    ],
    ["not a number", floatWav(new Float32Array(48000).fill(Number.NaN)), /recording has NaN at sample 0/],
  ];
  test.each(unusable)("%s is refused in one line", (_title, bytes, message) => {
    const folder = newFolder();
    writeFileSync(join(folder, "a.wav"), bytes);
    const { status, stderr, stdout } = tts(folder, "voices", "add", "a", "--from", "a.wav", ...base());
    expect(stderr).toMatch(message);
    expect({ status, stdout, lines: stderr.trim().split("\n").length }).toEqual({
      status: 2,
      stdout: "",
      lines: 1,
    });
    expect(readdirSync(folder)).toEqual(["a.wav"]);
  });
});
