// `make voice FROM=DIR`: replaces the starter voice that ships by another of the same shapes: weights, golden
// runs and figures together. DIR holds `out/` (the checkpoint), `golden/` (runs of the official classes) and
// `README.md` (how well it is understood); where it also holds `SHA256SUMS`, as sha256sum writes them, they
// must be right. Nothing is changed before everything has been found to fit. After a kill between two renames
// the next call puts the old voice back.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { weightTypes } from "../../src/config.ts";
import { runConversion } from "../../src/convert/index.ts";
import { type Engine, open } from "../../src/engine.ts";
import { TtsError } from "../../src/errors.ts";
import { openBundle } from "../../src/formats/bundle.ts";
import { type Checkpoint, openCheckpoint } from "../../src/formats/checkpoint.ts";
import { parseSafetensors, toFloat32, toInt32 } from "../../src/formats/safetensors.ts";
import { withLock } from "../../src/io/lock.ts";
import { wrapText } from "../../src/text/prompt.ts";
import type { Tokenizer } from "../../src/text/tokenizer.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../src/types.ts";
import {
  GOLDEN,
  maxDifference,
  ROOT,
  removeScratch,
  STARTER,
  type StarterCase,
  scratchFolder,
  tokenizerOf,
} from "../_support.ts";

/** Where the voice that ships has its parts. */
export interface Places {
  /** The checkpoint, with README.md and NOTICE. */
  voice: string;
  golden: string;
}
export const SHIPPED_PLACES: Places = { voice: STARTER, golden: join(GOLDEN, "starter") };

/** Files of the voice that a new one does not bring. */
const OURS = ["README.md", "NOTICE"];
/** What `make hear` measured of the voice; it stands with the golden runs. */
const HEARD = "heard.json";
/** The part of both READMEs that holds the figures. */
const FIGURES = "## How well it is understood";
const CASES = "cases.json";
const MAX_SOUND_ERROR = 1e-5;

/**
 * Checks the voice in `from` and puts it into its places.
 * @throws Error, one line, when it does not fit; then nothing has been changed
 */
export async function swapVoice(from: string, places: Places, onStep: (what: string) => void): Promise<void> {
  const lock = join(dirname(places.voice), `.${basename(places.voice)}.lock`);
  await withLock(
    lock,
    (pid) => fault(places.voice, `process ${pid} is replacing it`, "wait for it"),
    () => swapLocked(from, places, onStep),
  );
}

async function swapLocked(from: string, places: Places, onStep: (what: string) => void): Promise<void> {
  putBack([places.voice, places.golden]);
  const [voice, golden] = [join(from, "out"), join(from, "golden")];
  for (const folder of [voice, golden]) {
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
      fault(folder, "is missing, or no folder", SHAPE_OF_DIR);
  }
  onStep("files and sums");
  const files = filesBelow(voice);
  sameNames(
    voice,
    files,
    filesBelow(places.voice).filter((name) => !OURS.includes(name)),
  );
  const cases = readCases(golden);
  const brought = [
    ...files.map((name) => `out/${name}`),
    ...[CASES, ...cases.map(runFile)].map((name) => `golden/${name}`),
    "README.md",
  ];
  checkSums(from, brought);
  for (const name of files.filter((name) => name.endsWith(".json"))) jsonOf(join(voice, name));
  const readme = withFigures(join(places.voice, "README.md"), join(from, "README.md"));
  onStep("shapes");
  sameShapes(voice, places.voice);
  onStep(`${cases.length} golden runs`);
  await checkRuns(voice, golden, cases);
  replaceBoth([
    [
      places.voice,
      (folder) => {
        copyFiles(places.voice, OURS, folder);
        writeFileSync(join(folder, "README.md"), readme);
        copyFiles(voice, files, folder);
      },
    ],
    [
      places.golden,
      (folder) => {
        copyFiles(golden, [CASES, ...cases.map(runFile)], folder);
        copyFiles(places.golden, [HEARD], folder);
      },
    ],
  ]);
}

const SHAPE_OF_DIR = "give a folder with out/, golden/ and README.md, as test/golden/README.md says";

function fault(path: string, what: string, hint: string): never {
  throw new Error(`${path}: ${what}; ${hint}`);
}

/** Reads a file. An error names it, and says what the system says. */
function readable(path: string): Buffer {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return fault(path, "is missing", SHAPE_OF_DIR);
  if (!stat.isFile()) return fault(path, "is no file", SHAPE_OF_DIR); // a pipe would be waited for
  try {
    return readFileSync(path);
  } catch (error) {
    return fault(path, (error as Error).message, "make it readable");
  }
}

function jsonOf(path: string): unknown {
  try {
    return JSON.parse(readable(path).toString());
  } catch (error) {
    if (error instanceof SyntaxError) return fault(path, `is no JSON (${error.message})`, "copy it again");
    throw error;
  }
}

const runFile = ({ name }: StarterCase) => `${name}.safetensors`;

const filesBelow = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();

function sameNames(folder: string, found: readonly string[], wanted: readonly string[]): void {
  const missing = wanted.find((name) => !found.includes(name));
  if (missing !== undefined) fault(join(folder, missing), "is missing", "the voice here has it");
  const extra = found.find((name) => !wanted.includes(name));
  if (extra !== undefined) fault(join(folder, extra), "is no file of the voice", "move it away");
}

/**
 * Checks SHA256SUMS where it is there. A line is 64 hex digits, two characters, and a path from the folder
 * on; every file that is brought needs one.
 */
function checkSums(from: string, brought: readonly string[]): void {
  const list = join(from, "SHA256SUMS");
  if (!existsSync(list)) return;
  const sums = new Map<string, string>();
  for (const line of readable(list)
    .toString()
    .split(/\r?\n/)
    .filter((line) => line !== "")) {
    const [, sum, name] = /^([0-9a-f]{64}) [ *](?:\.\/)?(.+)$/.exec(line) ?? [];
    if (name === undefined) fault(list, `"${line.slice(0, 80)}" is no line of sha256sum`, "make it again");
    sums.set(name, sum);
  }
  for (const name of new Set([...sums.keys(), ...brought])) {
    const found = createHash("sha256")
      .update(readable(join(from, name)))
      .digest("hex");
    const sum = sums.get(name);
    if (sum === undefined) fault(list, `has no sum of ${name}`, "make it again");
    if (found !== sum)
      fault(join(from, name), `has the SHA-256 ${found}, ${list} says ${sum}`, "copy it again");
  }
}

/** Our README with the figures of the other one. */
function withFigures(ours: string, theirs: string): string {
  const [own, given] = [ours, theirs].map((path) => {
    const text = `${readable(path).toString().replaceAll("\r\n", "\n").trimEnd()}\n`;
    const from = text.indexOf(`\n${FIGURES}\n`) + 1;
    const next = text.indexOf("\n## ", from);
    const to = next < 0 ? text.length : next + 1;
    const section = text.slice(from, to).slice(FIGURES.length).trim();
    if (from === 0 || section === "")
      fault(
        path,
        `has no section "${FIGURES}" with anything in it`,
        "write how well the voice is understood",
      );
    return { text, from, to, section };
  });
  return `${own.text.slice(0, own.from)}${FIGURES}\n\n${given.section}\n\n${own.text.slice(own.to)}`;
}

function readCases(golden: string): StarterCase[] {
  const path = join(golden, CASES);
  const cases = (jsonOf(path) as { cases?: unknown } | null)?.cases;
  if (!Array.isArray(cases) || cases.length === 0)
    return fault(path, "lists no cases", "give the golden runs of the official classes");
  cases.forEach((one: Partial<StarterCase> | null, i) => {
    const strings = [one?.name, one?.text, one?.ipa].every(
      (value) => typeof value === "string" && value !== "",
    );
    const ids = Array.isArray(one?.input_ids) && one.input_ids.every((id) => Number.isSafeInteger(id));
    const isCase =
      strings && ids && Number.isSafeInteger(one?.frames) && typeof one?.stops_by_itself === "boolean";
    if (!isCase)
      fault(
        path,
        `case ${i} lacks name, text, ipa, input_ids, frames or stops_by_itself`,
        "make the golden runs again",
      );
  });
  const names = cases.map(runFile);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) fault(path, `${twice} is named twice`, "make the golden runs again");
  sameNames(golden, filesBelow(golden), [CASES, ...names]);
  return cases;
}

function sameShapes(folder: string, present: string): void {
  const [given, own] = [folder, present].map((path): Record<string, string> => {
    const checkpoint = openCheckpoint(path);
    checkpoint.close();
    const talker = checkpoint.config.object("talker_config");
    const namesOf = (key: string) =>
      String(
        talker
          .object(key)
          .entries()
          .map(([name]) => name),
      );
    return { ...shapesOf(checkpoint), speakers: namesOf("spk_id"), languages: namesOf("codec_language_id") };
  });
  const other = Object.keys(own).find((key) => own[key] !== given[key]);
  if (other === undefined) return;
  fault(
    folder,
    `${other} is ${given[other]}, the voice here has ${own[other]}`,
    "another shape needs more than this command",
  );
}

/** "codec.latent" -> value, and so on. */
function shapesOf({
  abilities: { modelType },
  codec,
  codecVocabulary,
  codes,
  predictor,
  talker,
  textHidden,
  textVocabulary,
}: Checkpoint): Record<string, string> {
  const groups = {
    talker,
    predictor,
    codec,
    model: { modelType, codes, codecVocabulary, textHidden, textVocabulary },
  };
  return Object.fromEntries(
    Object.entries(groups).flatMap(([group, values]) =>
      Object.entries(values).map(([key, value]) => [`${group}.${key}`, String(value)]),
    ),
  );
}

/**
 * Converts the voice and lets it say every case: reading, ids, codes and sound must be those of the official
 * run.
 */
async function checkRuns(voice: string, golden: string, cases: readonly StarterCase[]): Promise<void> {
  const target = join(mkdtempSync(join(scratchFolder(), "voice-")), "bundle");
  mkdirSync(target);
  runConversion({
    source: voice,
    target,
    part: target,
    weights: weightTypes("f32"),
    libraries: { llama: "", onnxruntime: "" },
  });
  const tokenizer = tokenizerOf(openBundle(target));
  const engine = await open({ model: target });
  try {
    for (const run of cases) {
      const path = join(golden, runFile(run));
      const what = await faultOfRun(engine, tokenizer, run, path);
      if (what !== null) fault(path, what, "these weights and these golden runs do not belong together");
    }
  } finally {
    await engine.close();
  }
}

/** How the voice differs from the official run, or null. */
async function faultOfRun(
  engine: Engine,
  tokenizer: Tokenizer,
  wanted: StarterCase,
  path: string,
): Promise<string | null> {
  const tensors = parseSafetensors(readable(path), path);
  const [saidThen, heardThen] = [tensors.get("codes"), tensors.get("audio")];
  if (saidThen === undefined || heardThen === undefined) return "it has no codes, or no audio";
  const [codes, audio] = [toInt32(saidThen), toFloat32(heardThen).slice()];
  const { frames, ipa, text } = wanted;
  if (codes.length !== frames * CODES_PER_FRAME || audio.length !== frames * SAMPLES_PER_FRAME)
    return `it does not have ${frames} frames`;
  const speech = engine.speak(text, { greedy: true });
  if (speech.sentences.join(" | ") !== ipa)
    return `"${text}" is read as ${speech.sentences.join(" | ")}, not as ${ipa}`;
  if (Array.from(tokenizer.encode(wrapText(ipa))).join() !== wanted.input_ids.join())
    return "its text has other ids";
  const chunks = await Array.fromAsync(speech);
  const said = chunks.flatMap((chunk) => Array.from(chunk.codes));
  const other = Array.from(codes).findIndex((code, i) => code !== said[i]);
  if (other >= 0) return `frame ${Math.floor(other / CODES_PER_FRAME)} has other codes`;
  if (said.length > codes.length) return `the voice goes on after its ${frames} frames`;
  if ((speech.summary().stop === "eos") !== wanted.stops_by_itself)
    return `the voice ends by ${speech.summary().stop}`;
  const error = maxDifference(Float32Array.from(chunks.flatMap((chunk) => Array.from(chunk.samples))), audio);
  return error <= MAX_SOUND_ERROR
    ? null
    : `its sound differs by ${error}, at most ${MAX_SOUND_ERROR} is allowed`;
}

function copyFiles(from: string, names: readonly string[], to: string): void {
  for (const name of names) {
    mkdirSync(dirname(join(to, name)), { recursive: true });
    writeFileSync(join(to, name), readFileSync(join(from, name))); // not its mode: it may be read-only there
  }
}

const beside = (place: string, suffix: "new" | "old") =>
  join(dirname(place), `.${basename(place)}.${suffix}`);

/**
 * Clears up after a killed process. While the first old folder is there, nothing counts as exchanged and all
 * old ones go back; otherwise all go away.
 */
function putBack(places: readonly string[]): void {
  const isUndone = existsSync(beside(places[0], "old"));
  for (const place of places.toReversed()) {
    if (isUndone && existsSync(beside(place, "old"))) {
      rmSync(place, { recursive: true, force: true });
      renameSync(beside(place, "old"), place);
    }
    for (const suffix of ["old", "new"] as const)
      rmSync(beside(place, suffix), { recursive: true, force: true });
  }
}

/** Makes each folder anew beside its place, then moves all of them there; a failure leaves the old ones. */
function replaceBoth(folders: readonly (readonly [place: string, fill: (folder: string) => void])[]): void {
  const places = folders.map(([place]) => place);
  try {
    for (const [place, fill] of folders) {
      mkdirSync(beside(place, "new"));
      fill(beside(place, "new"));
    }
    for (const place of places) renameSync(place, beside(place, "old"));
    for (const place of places) renameSync(beside(place, "new"), place);
  } catch (error) {
    putBack(places);
    throw error;
  }
  renameSync(beside(places[0], "old"), beside(places[0], "new")); // from here on the exchange counts
  putBack(places);
}

async function main(): Promise<void> {
  const from = process.argv[2] ?? "";
  if (from === "")
    throw new Error(
      "no folder is named; write make voice FROM=DIR, where DIR holds out/, golden/ and README.md",
    );
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)
    process.once(signal, () => process.exit(status));
  process.once("exit", removeScratch);
  await swapVoice(from, SHIPPED_PLACES, (what) => console.error(`voice: ${what}`));
  console.error("voice: how well it is heard");
  const rate = () =>
    (jsonOf(join(SHIPPED_PLACES.golden, HEARD)) as { wordErrorRate: number }).wordErrorRate.toFixed(2);
  const before = rate();
  const { status } = spawnSync(process.execPath, [join(ROOT, "test/tools/hear.ts"), "--keep"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  console.error(
    status === 0
      ? `voice: word error rate ${rate()}; the voice before had ${before}`
      : "voice: not heard; run make hear KEEP=1 later",
  );
  const next = "make check, git add -A models/starter test/golden/starter, git commit";
  console.error(
    `voice: ${relative(process.cwd(), STARTER)} and its golden runs are those of ${from}; next: ${next}`,
  );
}

if (import.meta.main) {
  await main().catch((error) => {
    console.error(`voice: ${error instanceof TtsError ? error.inOneLine : error.message}`);
    process.exitCode = 1;
  });
}
