// Arguments of the door's functions as programs without types pass them: each wrong one is a TtsError of one
// line that names function, option, value, and what would be right.

import { afterAll, expect, test } from "bun:test";
import {
  type Engine,
  loadVoice,
  type OpenOptions,
  open,
  provenanceOf,
  type SpeakOptions,
  saveVoice,
  TtsError,
} from "../../src/engine.ts";
import { bundleOf, failureOf, GoldenFile, rejectionOf } from "../_support.ts";

const engine = await open({ model: bundleOf("starter").directory, sentences: 1 });
afterAll(() => engine.close());

/** Values that no type allows. */
const any = (value: unknown) => value as never;
const lineOf = ({ code, inOneLine }: TtsError) => `${code} ${inOneLine}`;

test.each<[given: unknown, line: string]>([
  [{ modle: "starter" }, 'open: there is no option modle ("starter"); did you mean model?'],
  [{ cache_dir: 7 }, "open: there is no option cache_dir (7); did you mean cacheDir?"],
  [{ Model: "starter" }, 'open: there is no option Model ("starter"); did you mean model?'],
  [{ cpus: { taker: [0] } }, "open: there is no option cpus.taker (a list of 1); did you mean cpus.talker?"],
  [{ model: null }, "open: model is null; give a string"],
  [{ model: ["starter"] }, "open: model is a list of 1; give a string"],
  [{ lanes: "2" }, 'open: lanes is "2"; give a number'],
  [{ threads: 2n }, "open: threads is 2n; give a number"],
  [{ cpus: 3 }, "open: cpus is 3; give an object"],
  [{ cpus: { all: "0-3" } }, 'open: cpus.all is "0-3"; give a list of numbers'],
  [{ greedy: "yes" }, 'open: greedy is "yes"; give true or false'],
  [{ onProgress: true }, "open: onProgress is true; give a function"],
  [{ use: "speek" }, 'open: use is "speek"; give one of speak, decode, encode; did you mean speak?'],
  [
    { weights: "q4_O" },
    'open: weights is "q4_O"; give one of f32, f16, bf16, q8_0, q4_0, q4_k_m, iq4_nl; did you mean q4_0?',
  ],
  [{ prefixCache: "no" }, 'open: prefixCache is "no"; give one of off, memory, disk'],
  [{ stageTimeoutMs: Number.NaN }, "stageTimeoutMs is NaN; give milliseconds, above 0 and up to 2147483647"],
  [{ contextPositions: -1 }, "contextPositions is -1; give a whole number from 1 to 9216"],
  [{ sentences: 1.5 }, "sentences is 1.5; give a whole number from 0 to 9007199254740991"],
  [null, "open: options is null; give an object"],
  ["starter", 'open: options is "starter"; give an object'],
])("open(%p)", async (given, line) => {
  expect(lineOf(await rejectionOf(open(any(given))))).toBe(`USAGE ${line}`);
});

test.each<[given: unknown, line: RegExp | string]>([
  [{ sed: 1 }, "speak: there is no option sed (1); did you mean seed?"],
  [{ max_frames: 9 }, "speak: there is no option max_frames (9); did you mean maxFrames?"],
  [{ toString: 1 }, /^speak: there is no option toString \(1\); there are greedy, sampling, speaker, /],
  [{ nothing: undefined }, /^speak: there is no option nothing \(undefined\); there are /],
  [{ seed: "7" }, 'speak: seed is "7"; give a number'],
  [{ seed: null }, "speak: seed is null; give a number"],
  [{ seed: 0.5 }, /^the seed is 0.5; /],
  [{ speaker: 3 }, "speak: speaker is 3; give a string"],
  [{ instruct: {} }, "speak: instruct is an object; give a string"],
  [{ textMode: "steam" }, 'speak: textMode is "steam"; give one of whole, stream; did you mean stream?'],
  [{ rawText: 1 }, "speak: rawText is 1; give true or false"],
  [{ signal: {} }, "speak: signal is an object; give an AbortSignal"],
  [{ sampling: [] }, "speak: sampling is a list of 0; give an object"],
  [
    { sampling: { talker: { topp: 1 } } },
    "speak: there is no option sampling.talker.topp (1); did you mean sampling.talker.topP?",
  ],
  [
    { sampling: { predictor: { temperature: "hot" } } },
    'speak: sampling.predictor.temperature is "hot"; give a number',
  ],
  [{ voice: "anna" }, 'speak: voice is "anna"; give an object'],
  [{ voice: { name: "anna" } }, "speak: voice.text is undefined; give a string"],
  [null, "speak: options is null; give an object"],
  ["anna", 'speak: options is "anna"; give an object'],
])("speak(text, %p)", (given, line) => {
  const error = failureOf(() => engine.speak("Hello.", any(given)));
  expect(error.code).toBe("USAGE");
  if (typeof line === "string") expect(error.inOneLine).toBe(line);
  else expect(error.inOneLine).toMatch(line);
});

test.each<[given: unknown, shown: string]>([
  [null, "null"],
  [undefined, "undefined"],
  [7, "7"],
  [{ text: "Hello." }, "an object"],
  [Buffer.from("Hello."), "Buffer of 6 bytes"],
  [["Hello."].values, "a function"],
])("speak(%p)", (given, shown) => {
  expect(lineOf(failureOf(() => engine.speak(any(given))))).toBe(
    `USAGE speak: text is ${shown}; give a string, or strings that come one by one`,
  );
});

test("a list and a generator of strings are texts, and undefined options are none", async () => {
  const options = { seed: undefined, sampling: undefined, maxFrames: 2, greedy: true } as SpeakOptions;
  for (const text of [["Hello."], ["Hel", "lo."].values()])
    expect((await Array.fromAsync(engine.speak(text, options))).length).toBeGreaterThan(0);
});

test("decode, encode and the functions for voices check their arguments, too", async () => {
  const codes = new Int32Array(16);
  const calls: [line: string, call: () => unknown][] = [
    ["decode: codes is a list of 16; give an Int32Array", () => engine.decode(any([...codes]))],
    ["decode: codes is null; give an Int32Array", () => engine.decode(any(null))],
    [
      "decode: there is no option signl (1); did you mean signal?",
      () => engine.decode(codes, any({ signl: 1 })),
    ],
    ["decode: options is null; give an object", () => engine.decode(codes, any(null))],
    ["loadVoice: path is null; give a string", () => loadVoice(any(null))],
    ["saveVoice: path is 1; give a string", () => saveVoice(any(1), any({}))],
    ["saveVoice: voice is null; give a cloned voice", () => saveVoice("x", any(null))],
    ["provenanceOf: engine is null; give an open engine", () => provenanceOf(any(null))],
    [
      "provenanceOf: there is no option recordingSecond (1); did you mean recordingSeconds?",
      () => provenanceOf(engine, any({ recordingSecond: 1 })),
    ],
  ];
  for (const [line, call] of calls) expect(lineOf(failureOf(call))).toBe(`USAGE ${line}`);
  const samples = new Float32Array(24_000);
  const encodes: [line: string, call: (base: Engine) => Promise<unknown>][] = [
    ["encode: samples is a list of 1; give a Float32Array", (base) => base.encode(any([0]), 0)],
    [
      "encode: tailSilenceSeconds is undefined; give a number",
      (base) => base.encode(samples, any(undefined)),
    ],
    ["the silence after the recording is -1 s; give 0 to 1 s", (base) => base.encode(samples, -1)],
    ["the silence after the recording is NaN s; give 0 to 1 s", (base) => base.encode(samples, Number.NaN)],
    ["encode: options is 5; give an object", (base) => base.encode(samples, 0, any(5))],
  ];
  for (const [line, call] of encodes) expect(lineOf(await rejectionOf(call(engine)))).toBe(`USAGE ${line}`);
});

test("a voice whose codes no model has is refused before native code sees them", async () => {
  const { directory, manifest } = bundleOf("tiny-base");
  const reference = new GoldenFile("tiny-base/golden/reference.safetensors");
  const [codes, xVector] = [reference.ints("codes"), reference.floats("x_vector")];
  await using base = await open({ model: directory } satisfies OpenOptions);
  const voice = { name: "gold", codes, xVector, text: "Hello.", codebookSize: manifest.shape.codes };
  const wrong = codes.slice();
  wrong[17] = manifest.shape.codes;
  const refused = failureOf(() => base.speak("Hello.", { voice: { ...voice, codes: wrong } }));
  expect(lineOf(refused)).toStartWith(`CODES_INVALID frame 1, code 1 is ${manifest.shape.codes}, `);
  const cut = failureOf(() => base.speak("Hello.", { voice: { ...voice, codes: codes.subarray(1) } }));
  expect(lineOf(cut)).toBe(
    `USAGE speak: voice.codes is Int32Array of ${4 * (codes.length - 1)} bytes; give an Int32Array of whole frames, or null`,
  );
  expect(failureOf(() => base.speak("Hello.", { voice: { ...voice, xVector: any([1]) } }))).toBeInstanceOf(
    TtsError,
  );
});
