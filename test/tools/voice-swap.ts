// `make voice FROM=DIR`: puts another starter voice, of the same shapes, in the place of the one that ships: weights, golden runs and figures
// together. DIR holds `out/` (the checkpoint), `golden/` (runs of the official classes) and `README.md` (how well it is understood); where it
// also holds `SHA256SUMS`, as sha256sum writes them, they must be right. Nothing is changed before everything has been found to fit.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import type { Tokenizer } from "../../src/backends/stage.ts";
import { weightTypes } from "../../src/config.ts";
import { runConversion } from "../../src/convert/index.ts";
import { type Engine, open } from "../../src/engine.ts";
import { openBundle } from "../../src/formats/bundle.ts";
import { type Checkpoint, openCheckpoint } from "../../src/formats/checkpoint.ts";
import { parseSafetensors, toFloat32, toInt32 } from "../../src/formats/safetensors.ts";
import { wrapText } from "../../src/text/prompt.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../src/types.ts";
import { GOLDEN, maxDifference, ROOT, removeScratch, STARTER, type StarterCase, scratchFolder, tokenizerOf } from "../_support.ts";

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
  const [voice, golden] = [join(from, "out"), join(from, "golden")];
  for (const path of [voice, golden, join(from, "README.md")]) if (!existsSync(path)) throw new Error(`${path} is missing`);
  onStep("files and sums");
  checkSums(from);
  const files = filesBelow(voice);
  sameNames(
    voice,
    files,
    filesBelow(places.voice).filter((name) => !OURS.includes(name)),
  );
  const readme = withFigures(join(places.voice, "README.md"), join(from, "README.md"));
  const cases = readCases(golden);
  onStep("shapes");
  sameShapes(voice, places.voice);
  onStep("golden runs");
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

const runFile = ({ name }: StarterCase) => `${name}.safetensors`;

const filesBelow = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();

function sameNames(folder: string, found: readonly string[], wanted: readonly string[]): void {
  const missing = wanted.find((name) => !found.includes(name));
  if (missing !== undefined) throw new Error(`${join(folder, missing)} is missing`);
  const extra = found.find((name) => !wanted.includes(name));
  if (extra !== undefined) throw new Error(`${join(folder, extra)} is no file of the voice`);
}

/** Lines of sha256sum: 64 hex digits, two characters, a path from the folder on. */
function checkSums(from: string): void {
  const list = join(from, "SHA256SUMS");
  if (!existsSync(list)) return;
  for (const line of readFileSync(list, "utf8")
    .split("\n")
    .filter((line) => line !== "")) {
    const [, sum, name] = /^([0-9a-f]{64}) [ *](?:\.\/)?(.+)$/.exec(line) ?? [];
    if (name === undefined) throw new Error(`${list}: "${line.slice(0, 80)}" is no line of sha256sum`);
    const path = join(from, name);
    if (!existsSync(path)) throw new Error(`${path} is missing`);
    const found = createHash("sha256").update(readFileSync(path)).digest("hex");
    if (found !== sum) throw new Error(`${path} has the SHA-256 ${found}, ${list} says ${sum}`);
  }
}

/** Our README with the figures of the other one. */
function withFigures(ours: string, theirs: string): string {
  const [own, given] = [ours, theirs].map((path) => {
    const text = readFileSync(path, "utf8");
    const from = text.indexOf(`${FIGURES}\n`);
    if (from < 0) throw new Error(`${path} has no section "${FIGURES}"`);
    const next = text.indexOf("\n## ", from);
    return { text, from, to: next < 0 ? text.length : next + 1 };
  });
  return own.text.slice(0, own.from) + given.text.slice(given.from, given.to) + own.text.slice(own.to);
}

function readCases(golden: string): StarterCase[] {
  const path = join(golden, CASES);
  if (!existsSync(path)) throw new Error(`${path} is missing`);
  const { cases } = JSON.parse(readFileSync(path, "utf8")) as { cases: StarterCase[] };
  sameNames(golden, filesBelow(golden), [CASES, ...cases.map(runFile)]);
  return cases;
}

function sameShapes(folder: string, present: string): void {
  const [given, own] = [folder, present].map((path) => {
    const checkpoint = openCheckpoint(path);
    checkpoint.close();
    return shapesOf(checkpoint);
  });
  const other = Object.keys(own).find((key) => own[key] !== given[key]);
  if (other === undefined) return;
  throw new Error(`${folder}: ${other} is ${given[other]}, the voice here has ${own[other]}: another shape needs more than this command`);
}

/** "codec.latent" -> value, and so on. */
function shapesOf({
  codec,
  codecVocabulary,
  codes,
  modelType,
  predictor,
  talker,
  textHidden,
  textVocabulary,
}: Checkpoint): Record<string, string> {
  const groups = { talker, predictor, codec, model: { modelType, codes, codecVocabulary, textHidden, textVocabulary } };
  return Object.fromEntries(
    Object.entries(groups).flatMap(([group, values]) => Object.entries(values).map(([key, value]) => [`${group}.${key}`, String(value)])),
  );
}

/** Converts the voice and lets it say every case: reading, ids, codes and sound must be those of the official run. */
async function checkRuns(voice: string, golden: string, cases: readonly StarterCase[]): Promise<void> {
  const target = join(mkdtempSync(join(scratchFolder(), "voice-")), "bundle");
  mkdirSync(target);
  runConversion({ source: voice, target, part: target, weights: weightTypes("f32"), libraries: { llama: "", onnxruntime: "" } });
  const tokenizer = tokenizerOf(openBundle(target));
  const engine = await open({ model: target });
  try {
    for (const run of cases) {
      const fault = await faultOfRun(engine, tokenizer, run, join(golden, runFile(run)));
      if (fault !== null) throw new Error(`${join(golden, runFile(run))}: ${fault}`);
    }
  } finally {
    await engine.close();
  }
}

/** What the voice does otherwise than the official run, or null. */
async function faultOfRun(engine: Engine, tokenizer: Tokenizer, wanted: StarterCase, path: string): Promise<string | null> {
  const tensors = parseSafetensors(readFileSync(path), path);
  const [codes, audio] = [toInt32(tensors.get("codes")!), toFloat32(tensors.get("audio")!).slice()];
  const { frames, ipa, text } = wanted;
  if (codes.length !== frames * CODES_PER_FRAME || audio.length !== frames * SAMPLES_PER_FRAME) return `it has not ${frames} frames`;
  const speech = engine.speak(text, { greedy: true });
  if (speech.sentences.join(" | ") !== ipa) return `"${text}" is read as ${speech.sentences.join(" | ")}, not as ${ipa}`;
  if (Array.from(tokenizer.encode(wrapText(ipa))).join() !== wanted.input_ids.join()) return "its text has other ids";
  const chunks = await Array.fromAsync(speech);
  const said = chunks.flatMap((chunk) => Array.from(chunk.codes));
  const other = Array.from(codes).findIndex((code, i) => code !== said[i]);
  if (other >= 0) return `frame ${Math.floor(other / CODES_PER_FRAME)} has other codes`;
  if (said.length > codes.length) return `the voice goes on after its ${frames} frames`;
  if ((speech.summary().stop === "eos") !== wanted.stops_by_itself) return `the voice ends by ${speech.summary().stop}`;
  const error = maxDifference(Float32Array.from(chunks.flatMap((chunk) => Array.from(chunk.samples))), audio);
  return error <= MAX_SOUND_ERROR ? null : `its sound is ${error} away, at most ${MAX_SOUND_ERROR} is allowed`;
}

function copyFiles(from: string, names: readonly string[], to: string): void {
  for (const name of names) {
    mkdirSync(dirname(join(to, name)), { recursive: true });
    writeFileSync(join(to, name), readFileSync(join(from, name))); // not its mode: it may be read-only there
  }
}

/** Makes each folder anew beside its place, then puts all of them there; a failure leaves the old ones. */
function replaceBoth(folders: readonly (readonly [place: string, fill: (folder: string) => void])[]): void {
  const beside = (place: string, suffix: string) => join(dirname(place), `.${basename(place)}.${suffix}`);
  const moved: string[] = [];
  try {
    for (const [place, fill] of folders) {
      rmSync(beside(place, "new"), { recursive: true, force: true });
      mkdirSync(beside(place, "new"));
      fill(beside(place, "new"));
    }
    for (const [place] of folders) {
      renameSync(place, beside(place, "old"));
      moved.push(place);
      renameSync(beside(place, "new"), place);
    }
  } catch (error) {
    for (const place of moved) {
      rmSync(place, { recursive: true, force: true });
      renameSync(beside(place, "old"), place);
    }
    throw error;
  } finally {
    for (const [place] of folders) for (const suffix of ["new", "old"]) rmSync(beside(place, suffix), { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const from = process.argv[2] ?? "";
  if (from === "") throw new Error("write make voice FROM=DIR, where DIR holds out/, golden/ and README.md");
  await swapVoice(from, SHIPPED_PLACES, (what) => console.error(`voice: ${what}`));
  console.error("voice: how well it is heard");
  const { status } = spawnSync(process.execPath, [join(ROOT, "test/tools/hear.ts"), "--keep"], { stdio: ["ignore", "ignore", "inherit"] });
  const next = status === 0 ? "make check, and commit" : "make hear KEEP=1 where there is a recogniser, make check, and commit";
  console.error(`voice: ${relative(process.cwd(), STARTER)} and its golden runs are those of ${from}; next: ${next}`);
}

if (import.meta.main) {
  await main()
    .catch((error) => {
      console.error(`voice: ${error.message}`);
      process.exitCode = 1;
    })
    .finally(removeScratch);
}
