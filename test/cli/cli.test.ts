// The command line as a user runs it: real processes, files, pipes and signals.

import { beforeAll, describe, expect, test } from "bun:test";
import { type SpawnOptions, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { WAV_HEADER_BYTES } from "../../src/audio/encode/wav.ts";
import { FRAMES_PER_SECOND, SAMPLES_PER_FRAME } from "../../src/types.ts";
import {
  bundleOf,
  checkpointOf,
  GoldenFile,
  goldenCases,
  goldenFile,
  maxDifference,
  ROOT,
  S16_ERROR,
  STARTER,
  scratchFolder,
  starterCases,
  wavSamples,
} from "../_support.ts";
import {
  editedBundle,
  MAX_RELATIVE_ERROR,
  QUIET_S16_ERROR,
  quiet,
  relativeError,
} from "../conformance/vocoder.ts";
import { goldenArgs, newFolder } from "./_tts.ts";

const TEXT = "The kettle is ready. The time is 7:45.";
let starter = "";
let cache = "";
beforeAll(() => {
  starter = bundleOf("starter").directory;
  cache = join(scratchFolder(), "cache");
});

interface Result {
  status: number;
  stdout: Buffer;
  stderr: string;
}

/**
 * Runs `tts ...`. {@link say} names the starter's bundle as the model, so that only tests about the cache
 * convert.
 */
function tts(
  args: string[],
  options: SpawnOptions & {
    input?: string | Buffer;
    whileRunning?: (kill: (signal: NodeJS.Signals) => void) => void;
  } = {},
): Promise<Result> {
  const { input, whileRunning, ...spawnOptions } = options;
  const env = { PATH: process.env.PATH, TTS_CACHE: cache };
  const child = spawn(process.execPath, [join(ROOT, "tts.ts"), ...args], {
    env,
    cwd: scratchFolder(),
    ...spawnOptions,
  });
  const out: Buffer[] = [];
  let stderr = "";
  child.stdout?.on("data", (chunk) => out.push(chunk));
  child.stderr?.on("data", (chunk) => {
    stderr += chunk;
  });
  child.stdin?.on("error", () => {}); // the program may stop reading early
  child.stdin?.end(input ?? "");
  whileRunning?.((signal) => child.kill(signal));
  return new Promise((resolve) =>
    child.on("close", (status) => resolve({ status: status ?? -1, stdout: Buffer.concat(out), stderr })),
  );
}

const say = (args: string[], options: Parameters<typeof tts>[1] = {}) =>
  tts(["-m", starter, ...args], options);

describe("speaking", () => {
  test("writes a whole wav file and one closing line", async () => {
    const folder = newFolder();
    const { status, stdout, stderr } = await say([TEXT, "--greedy"], { cwd: folder });
    expect({ status, stdout: stdout.length }).toEqual({ status: 0, stdout: 0 });
    const { frames } = starterCases().find(({ name }) => name === "starter-01")!; // the same words
    const [start, sound] = stderr.split(" s of sound in ");
    expect(start).toBe(`output.wav: ${(frames / FRAMES_PER_SECOND).toFixed(2)}`);
    expect(sound).toMatch(
      /^[\d.]+ s \(RTF [\d.]+\), first audio \d+ ms, first heard \d+ ms, ms per frame: talker [\d.]+, predictor [\d.]+, vocoder [\d.]+; seed \d+\n$/,
    );
    const wav = readFileSync(join(folder, "output.wav"));
    expect(wav.subarray(0, 4).toString()).toBe("RIFF");
    expect(wav.readUInt32LE(4)).toBe(wav.length - 8);
    expect(wav.readUInt32LE(40)).toBe(frames * SAMPLES_PER_FRAME * 2);
    expect(wav.readUInt32LE(24)).toBe(24000);
    expect(readdirSync(folder)).toEqual(["output.wav"]);
  });

  test("a seed gives the same bytes in wav, in a pipe and from saved codes", async () => {
    const folder = newFolder();
    const speak = (...more: string[]) => say([TEXT, "--seed", "1", "--quiet", ...more], { cwd: folder });
    const saved = await speak("-o", "a.wav", "--save-codes", "codes.json");
    const pcm = await speak("-o", "-", "--format", "pcm");
    const piped = await speak("-o", "-");
    const decoded = await tts(["decode", "codes.json", "-m", starter, "-o", "b.wav", "--quiet"], {
      cwd: folder,
    });
    expect([saved, pcm, piped, decoded].map(({ status, stderr }) => `${status}${stderr}`)).toEqual([
      "0",
      "0",
      "0",
      "0",
    ]);
    const wav = readFileSync(join(folder, "a.wav"));
    expect(pcm.stdout.equals(wav.subarray(WAV_HEADER_BYTES))).toBe(true);
    expect(piped.stdout.subarray(WAV_HEADER_BYTES).equals(pcm.stdout)).toBe(true);
    expect(piped.stdout.readUInt32LE(40)).toBe(0xffffffff);
    expect(readFileSync(join(folder, "b.wav")).equals(wav)).toBe(true);
    const codes = JSON.parse(readFileSync(join(folder, "codes.json"), "utf8"));
    expect(codes).toMatchObject({ text: TEXT, seed: 1, model: "starter" });
    expect(codes.modelSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(codes.frames.length * 1920).toBe(pcm.stdout.length / 2);
  });

  test("--json prints one object with every figure", async () => {
    const { stdout, stderr } = await say([TEXT, "--json", "--seed", "5", "-o", "/dev/null"]);
    const summary = JSON.parse(stdout.toString());
    const keys = [
      "audioSeconds",
      "wallSeconds",
      "rtf",
      "firstAudioMs",
      "firstHeardMs",
      "frames",
      "msPerFrame",
      "stop",
      "model",
      "backends",
      "seed",
      "speculation",
      "repairs",
    ];
    expect(Object.keys(summary).toSorted()).toEqual([...keys, "prompt"].toSorted());
    expect(Object.keys(summary.prompt)).toEqual(["rows", "cachedRows", "savedMs"]);
    expect(Object.keys(summary.msPerFrame)).toEqual(["talker", "predictor", "vocoder"]);
    expect(summary).toMatchObject({ seed: 5, stop: "eos", model: "starter" });
    expect(stderr).toBe("");
  });

  // One run of each kind of model; all of them go through the engine, in test/engine/golden.test.ts.
  test.each([
    ["custom-ryan-english-stream", "llama"],
    ["design", "ort"],
  ])("gives the official codes and sound of %s with the predictor on %s", async (name, predictor) => {
    const folder = newFolder();
    const golden = goldenCases().find((goldenCase) => goldenCase.name === name)!;
    const checkpoint = checkpointOf(editedBundle(golden.checkpoint, quiet));
    const args = [
      ...goldenArgs(golden),
      "-m",
      checkpoint,
      "--predictor",
      predictor,
      "--save-codes",
      "codes.json",
      "--json",
      "-o",
      "a.wav",
    ];
    const { status, stdout, stderr } = await tts(args, { cwd: folder });
    expect({ status, error: status === 0 ? "" : stderr }).toEqual({ status: 0, error: "" });
    const { frames } = JSON.parse(readFileSync(join(folder, "codes.json"), "utf8"));
    expect(frames.flat()).toEqual(Array.from(goldenFile(golden).ints("codes")));
    expect(JSON.parse(stdout.toString())).toMatchObject({ stop: "length", backends: { predictor } });
    const error = relativeError(wavSamples(join(folder, "a.wav")), goldenFile(golden).floats("audio"));
    expect(error).toBeLessThan(MAX_RELATIVE_ERROR + QUIET_S16_ERROR);
  });

  test("gives the official sound of the starter voice", async () => {
    const folder = newFolder();
    const { name, text } = starterCases()[0];
    expect(
      (await say([text, "--greedy", "--repetition-penalty", "1", "-o", "a.wav"], { cwd: folder })).status,
    ).toBe(0);
    const golden = new GoldenFile(`starter/${name}.safetensors`).floats("audio");
    expect(maxDifference(wavSamples(join(folder, "a.wav")), golden)).toBeLessThan(1e-5 + S16_ERROR);
  });

  test("works from cron: no environment, no HOME, no stdin", async () => {
    const folder = newFolder();
    const { status, stderr } = await say([TEXT, "-o", "a.wav"], {
      cwd: folder,
      env: {},
      stdio: ["ignore", "pipe", "pipe"],
    });
    expect({ status, lines: stderr.trim().split("\n").length }).toEqual({ status: 0, lines: 1 });
  });

  test("reads the text from stdin and from a file with a byte order mark", async () => {
    const folder = newFolder();
    writeFileSync(join(folder, "text.txt"), "\ufeffDinner is ready.\r\n");
    const piped = await say(["-i", "-", "--greedy", "--json", "-o", "/dev/null"], {
      input: "Dinner is ready.",
    });
    const file = await say(["-i", "text.txt", "--greedy", "--json", "-o", "/dev/null"], { cwd: folder });
    expect([piped, file].map(({ stdout }) => JSON.parse(stdout.toString()).frames)).toEqual([18, 18]);
  });

  test("names what the voice cannot read, and speaks the rest", async () => {
    const { status, stderr } = await say(["🙂 Dinner is ready.", "-o", "/dev/null"]);
    expect(status).toBe(0);
    expect(stderr).toStartWith('tts: warning: this voice cannot read "🙂": left out\n');
  });

  test("--raw-text takes IPA as it is", async () => {
    const { stdout } = await say(["dˈɪnɝ ˈɪz rˈɛdi.", "--raw-text", "--greedy", "--json", "-o", "/dev/null"]);
    expect(JSON.parse(stdout.toString()).frames).toBe(18);
  });
});

describe("the cache", () => {
  test("the first use converts, later ones do not, and a changed checkpoint is converted again", async () => {
    const home = newFolder();
    const env = { HOME: home };
    const run = () => tts(["Hello.", "-o", "/dev/null"], { env });
    const bundles = join(home, ".cache/qwen3-tts/bundles");
    expect((await run()).stderr).toContain("preparing the starter voice for its first use");
    const [bundle] = readdirSync(bundles);
    const manifest = join(bundles, bundle, "bundle.json");
    const made = statSync(manifest).mtimeMs;
    expect((await run()).stderr).not.toContain("preparing");
    expect(statSync(manifest).mtimeMs).toBe(made);
    const changed = JSON.parse(readFileSync(manifest, "utf8"));
    changed.source["model.safetensors"].sha256 = "of another file";
    writeFileSync(manifest, JSON.stringify(changed));
    writeFileSync(join(bundles, bundle, ".source.json"), "{}");
    expect((await run()).stderr).toContain("preparing");
    expect(readdirSync(bundles)).toEqual([bundle]);
  });

  test("Ctrl-C during the conversion leaves nothing", async () => {
    for (const delay of [80, 200, 350]) {
      const home = newFolder();
      const result = await tts(["Hello.", "-o", "a.wav"], {
        env: { HOME: home },
        cwd: home,
        whileRunning: (kill) => setTimeout(() => kill("SIGINT"), delay),
      });
      if (result.status === 0) continue; // a fast machine was done before
      expect(result.status).toBeOneOf([130, -1]); // -1: on a slow machine the program had not begun
      expect(existsSync(join(home, "a.wav"))).toBe(false);
      const folder = join(home, ".cache/qwen3-tts/bundles");
      expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
    }
  }, 600_000);
});

describe("bad input", () => {
  const invalid = Buffer.from([0x61, 0xff, 0x62]);
  const cases: [
    title: string,
    args: string[],
    status: number,
    message: RegExp,
    options?: Parameters<typeof tts>[1],
  ][] = [
    ["no text", [], 2, /there is no text to speak/],
    ["an empty text", [""], 2, /blank/],
    ["a blank text", [" \n\t "], 2, /blank/],
    ["control tokens", ["<|im_end|>"], 2, /control tokens/],
    ["emoji", ["🙂🙂"], 2, /symbols/],
    ["a megabyte on stdin", ["-i", "-"], 2, /more than 200000 bytes/, { input: "a ".repeat(500_000) }],
    [
      "bytes that are not UTF-8",
      ["-i", "-"],
      2,
      /stdin is not UTF-8: byte 0xff at offset 1/,
      { input: invalid },
    ],
    ["a missing file", ["-i", "missing.txt"], 2, /cannot read missing.txt: there is no such file; check/],
    ["a model that is not pulled", ["Hello.", "-m", "0.6b-custom"], 3, /not on this machine yet; fetch it/],
    ["a path through a file", ["Hello.", "-o", "/dev/null/x"], 5, /a part of its path is no folder; check/],
    ["a home for voices that is a file", ["voices"], 2, /cannot read /, { env: { TTS_VOICES: "/dev/null" } }],
    ["a Bun without its JIT", ["Hello."], 4, /JIT is off.*; unset/, { env: { BUN_JSC_useJIT: "0" } }],
    ["text twice", ["Hello.", "-i", "x"], 2, /a text and an --input/],
    ["an unknown option", ["Hello.", "--sed", "1"], 2, /no option --sed; did you mean --seed\?/],
    ["an unknown short option", ["Hello.", "-x"], 2, /no option -x/],
    ["a missing value", ["Hello.", "--seed"], 2, /--seed needs a value/],
    ["a value for a switch", ["Hello.", "--greedy=yes"], 2, /--greedy takes no value/],
    ["a word for a number", ["Hello.", "--seed", "one"], 2, /--seed is "one"/],
    ["an unknown speaker", ["Hello.", "-s", "bob"], 2, /no speaker "bob"; this model has starter/],
    ["an unknown language", ["Hello.", "-l", "klingon"], 2, /no language "klingon"/],
    ["an unknown model", ["Hello.", "-m", "startr"], 3, /no model "startr"; did you mean starter\?/],
    ["an unknown format", ["Hello.", "--format", "aac"], 2, /--format is "aac"/],
    [
      "an instruction for a voice that takes none",
      ["Hello.", "--instruct", "whisper"],
      2,
      /does not follow instructions/,
    ],
    ["json and sound on one stdout", ["Hello.", "--json", "-o", "-"], 2, /both want standard output/],
    ["a name that every object has", ["Hello.", "-m", "constructor"], 3, /no model "constructor"/],
    [
      "an output folder that does not exist",
      ["Hello.", "-o", "no/such/a.wav"],
      5,
      /its folder does not exist/,
    ],
    ["a folder as output", ["Hello.", "-o", "."], 5, /is a folder/],
    ["a full disk", ["Hello.", "-o", "/dev/full"], 5, /the disk is full/],
    ["a missing codes file", ["decode", "missing.json"], 2, /cannot read missing.json/],
    ["codes that are no JSON", ["decode", "-"], 2, /is not JSON/, { input: "frames" }],
    ["codes without frames", ["decode", "-"], 2, /no list "frames"/, { input: "{}" }],
    [
      "a frame of 15 codes",
      ["decode", "-"],
      2,
      /frame 0 is not a list of 16/,
      { input: '{"frames": [[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]]}' },
    ],
    ["a folder that is no checkpoint", ["convert", ".", "-o", "b"], 3, /config.json:? is missing/],
    ["convert without a target", ["convert", STARTER], 2, /needs one checkpoint directory and -o/],
    [
      "an unknown weight type",
      ["convert", STARTER, "-o", "b", "--weights", "q8_1"],
      2,
      /did you mean q8_0\?/,
    ],
    [
      "a library that is not there",
      ["Hello."],
      4,
      /libllama .*was not found; tried \/nowhere/,
      { env: { TTS_LIBLLAMA: "/nowhere" } },
    ],
  ];
  for (const [title, args, status, message, options] of cases) {
    test(title, async () => {
      const withModel =
        args.includes("-m") || ["convert", "decode", "voices"].includes(args[0])
          ? args
          : ["-m", starter, ...args];
      const result = await tts(withModel, { cwd: newFolder(), ...options });
      expect(result.stderr).toMatch(message);
      expect(result.stderr.trim().split("\n").length).toBe(1);
      expect({ status: result.status, stdout: result.stdout.length }).toEqual({ status, stdout: 0 });
    });
  }
});

describe("outputs", () => {
  test("convert replaces nothing but a bundle", async () => {
    const folder = newFolder();
    writeFileSync(join(folder, "letter.txt"), "precious");
    const result = await tts(["convert", STARTER, "-o", folder]);
    expect({ status: result.status, left: readdirSync(folder) }).toEqual({ status: 5, left: ["letter.txt"] });
    expect(result.stderr).toContain("exists and is no bundle");
  });

  test("a Base model says that it needs a voice", async () => {
    const result = await tts(["Hello.", "-m", bundleOf("tiny-base").directory, "-o", "/dev/null"]);
    expect(result.status).toBe(2);
    expect(result.stderr).toContain("Base model");
  });

  test("a file that was there stays as it is until the new one is whole", async () => {
    const folder = newFolder();
    const path = join(folder, "a.wav");
    writeFileSync(path, "precious");
    const long = TEXT.repeat(40);
    const result = await say([long, "-o", "a.wav"], {
      cwd: folder,
      whileRunning: (kill) => {
        const timer = setInterval(() => {
          if (readdirSync(folder).length === 1) return;
          clearInterval(timer); // the new one has begun
          kill("SIGINT");
        }, 10);
      },
    });
    expect(result.status).toBe(130);
    expect(readFileSync(path, "utf8")).toBe("precious");
    expect(readdirSync(folder)).toEqual(["a.wav"]);
  });

  test("a link keeps pointing at the file, and the file keeps its mode", async () => {
    const folder = newFolder();
    writeFileSync(join(folder, "real.wav"), "old");
    chmodSync(join(folder, "real.wav"), 0o640);
    symlinkSync("real.wav", join(folder, "link.wav"));
    expect((await say(["Hello.", "-o", "link.wav", "--quiet"], { cwd: folder })).status).toBe(0);
    expect(readFileSync(join(folder, "real.wav")).subarray(0, 4).toString()).toBe("RIFF");
    expect(statSync(join(folder, "real.wav")).mode & 0o777).toBe(0o640);
    expect(readdirSync(folder).toSorted()).toEqual(["link.wav", "real.wav"]);
  });

  test("the next run removes what a killed run left", async () => {
    const folder = newFolder();
    mkdirSync(join(folder, "x"));
    writeFileSync(join(folder, ".a.wav.part-999999999"), "half");
    expect((await say(["Hello.", "-o", "a.wav", "--quiet"], { cwd: folder })).status).toBe(0);
    expect(readdirSync(folder).toSorted()).toEqual(["a.wav", "x"]);
  });

  test("a reader that goes away ends the program without a word", async () => {
    const folder = newFolder();
    const command = `"${process.execPath}" "${join(ROOT, "tts.ts")}" -m "${starter}" "${TEXT.repeat(20)}" -o - 2>error.txt | head -c 1000 >/dev/null; wait`;
    await new Promise((resolve) =>
      spawn("sh", ["-c", command], { cwd: folder, env: { PATH: process.env.PATH } }).on("close", resolve),
    );
    expect(readFileSync(join(folder, "error.txt"), "utf8")).toBe("");
  });
});

describe("the manual", () => {
  test.each([[["--help"]], [["decode", "--help"]], [["convert", "-h"]]])(
    "%p is complete and fits a terminal",
    async (args) => {
      const { status, stdout, stderr } = await tts(args);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const page = stdout.toString();
      for (const heading of ["NAME", "SYNOPSIS", "DESCRIPTION", "MESSAGES", "EXAMPLES"])
        expect(page).toContain(`${heading}\n`);
      for (const line of page.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
    },
  );

  test("--version names the program and its version", async () => {
    expect((await tts(["--version"])).stdout.toString()).toMatch(/^tts \d+\.\d+\.\d+\n/);
  });
});
