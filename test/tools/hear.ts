// Is the voice understood? The starter voice says 20 sentences, a speech recogniser that is no part of this
// project writes down what it hears (pocketsphinx, US English, free vocabulary), and the word error rate is
// printed. Run by `make hear`; not part of `make test`. It fails where the voice is heard clearly worse than
// when it came; that figure is in test/golden/starter/heard.json.
//
//   bun test/tools/hear.ts [SEED]      greedy; with SEED sampled, and held to no bound
//   bun test/tools/hear.ts --keep      greedy; the result becomes what the voice is held to
//
// Both sides are compared as lower-case words without punctuation. In the text, digits are read out and
// hyphens part words.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wavHeader } from "../../src/audio/encode/wav.ts";
import { toS16le } from "../../src/audio/pcm.ts";
import { type Engine, open, type SpeakOptions } from "../../src/engine.ts";
import { spellOut } from "../../src/text/normalize/english.ts";
import { ROOT } from "../_support.ts";

const ANNOUNCEMENTS = [
  "The train to Cambridge leaves from platform 4 at 9:20.",
  "Next stop, the central library.",
  "Tomorrow will be sunny, with 18 degrees in the afternoon.",
  "Strong wind is expected this evening.",
  "The kettle is boiling.",
  "The side door will be locked at 8.",
  "It is 6:30, time to get up.",
  "The washing machine will be done in 25 minutes.",
  "Somebody is waiting at the garden gate.",
  "The bus to the airport is 15 minutes late.",
];
const GENERAL = [
  "My brother lives in a small house near the river.",
  "She bought some bread and a bottle of milk.",
  "We walked along the beach until the sun went down.",
  "The old man told us a story about the war.",
  "Can you help me find my glasses?",
  "He has never been to another country.",
  "The children are playing in the park.",
  "I would like a cup of coffee, please.",
  "They painted the kitchen yellow last summer.",
  "A good book can change your life.",
];
const SENTENCES = [...ANNOUNCEMENTS, ...GENERAL];

const HEARD = join(ROOT, "test/golden/starter/heard.json");
/**
 * How much worse another version of the recogniser may hear: 13 of the 160 words. A voice that loses a third
 * of its words does not pass.
 */
const MARGIN = 0.08;

const MODEL = "/usr/share/pocketsphinx/model/en-us";
const RECOGNISER_RATE_HZ = "16000";
/** Silence before and after: the recogniser loses words at the very edge. */
const PADDING_SECONDS = "0.3";
/** Leaves room for the overshoot of resampling. */
const VOLUME = "0.9";

async function main(): Promise<void> {
  const [argument] = process.argv.slice(2);
  const keeps = argument === "--keep";
  const seed = keeps ? undefined : argument;
  if (seed !== undefined && !/^\d+$/.test(seed)) return fail("usage: bun test/tools/hear.ts [SEED|--keep]");
  const isMissing = (program: string) =>
    spawnSync(program, ["--version"], { stdio: "ignore" }).error !== undefined;
  if (isMissing("sox") || isMissing("pocketsphinx_batch") || !existsSync(MODEL)) {
    return fail("this needs a recogniser: apt-get install pocketsphinx pocketsphinx-en-us sox");
  }
  const folder = mkdtempSync(join(tmpdir(), "tts-hear-"));
  try {
    await speakAll(folder, seed === undefined ? { greedy: true } : { seed: Number(seed) });
    const heard = report(recognise(folder));
    if (keeps) writeFileSync(HEARD, `${JSON.stringify(heard, null, 1)}\n`);
    else if (seed === undefined) judge(heard);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function fail(message: string): void {
  console.error(`hear: ${message}`);
  process.exitCode = 1;
}

async function speakAll(folder: string, options: SpeakOptions): Promise<void> {
  const engine = await open();
  try {
    for (const [i, text] of SENTENCES.entries())
      writeFileSync(join(folder, `${i}.24k.wav`), await speak(engine, text, options));
  } finally {
    await engine.close();
  }
}

async function speak(engine: Engine, text: string, options: SpeakOptions): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let samples = 0;
  for await (const chunk of engine.speak(text, options)) {
    chunks.push(toS16le(chunk.samples));
    samples += chunk.samples.length;
  }
  return Buffer.concat([wavHeader(samples), ...chunks]);
}

/** What was heard of each sentence. Each is heard by itself (-cmn batch), whatever came before it. */
function recognise(folder: string): string[] {
  const names = SENTENCES.map((_, i) => String(i));
  for (const name of names) {
    const [from, to] = [join(folder, `${name}.24k.wav`), join(folder, `${name}.wav`)];
    const format = ["-r", RECOGNISER_RATE_HZ, "-c", "1", "-b", "16"];
    // -R: the same dither every time
    run("sox", ["-R", "-v", VOLUME, from, ...format, to, "pad", PADDING_SECONDS, PADDING_SECONDS]);
  }
  const [list, heard] = [join(folder, "list"), join(folder, "heard")];
  writeFileSync(list, `${names.join("\n")}\n`);
  const model = [
    "-hmm",
    join(MODEL, "en-us"),
    "-lm",
    join(MODEL, "en-us.lm.bin"),
    "-dict",
    join(MODEL, "cmudict-en-us.dict"),
  ];
  const input = [
    "-cmn",
    "batch",
    "-adcin",
    "yes",
    "-adchdr",
    "44",
    "-cepdir",
    folder,
    "-cepext",
    ".wav",
    "-ctl",
    list,
  ];
  run("pocketsphinx_batch", [...model, ...input, "-hyp", heard, "-logfn", "/dev/null"]);
  const lines = readFileSync(heard, "utf8").trimEnd().split("\n"); // each: words (name score)
  if (lines.length !== SENTENCES.length)
    throw new Error(`the recogniser gave ${lines.length} lines for ${SENTENCES.length} sentences`);
  return lines.map((line) => line.replace(/ *\(\d+ -?\d+\)$/, ""));
}

function run(program: string, args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ended with status ${status}: ${stderr.trim()}`);
}

interface Heard {
  words: number;
  errors: number;
  wordErrorRate: number;
}

function judge({ wordErrorRate: now }: Heard): void {
  const { wordErrorRate: then } = JSON.parse(readFileSync(HEARD, "utf8")) as Heard;
  if (now > then + MARGIN)
    fail(
      `the word error rate is ${now.toFixed(2)}, and was ${then.toFixed(2)} when the voice came (${HEARD})`,
    );
}

/** Prints all figures. @returns those of all sentences together */
function report(heard: string[]): Heard {
  const scores = SENTENCES.map((text, i) => compare(wordsOf(spellOut(text)), wordsOf(heard[i])));
  scores.forEach(({ errors, words }, i) => {
    console.log(`${`${errors}/${words}`.padStart(5)}  ${SENTENCES[i]}\n       ${heard[i]}`);
  });
  const split = ANNOUNCEMENTS.length;
  const parts = { announcements: scores.slice(0, split), general: scores.slice(split), all: scores };
  const sums = Object.entries(parts).map(([name, part]) => {
    const [errors, words] = [
      part.reduce((sum, score) => sum + score.errors, 0),
      part.reduce((sum, score) => sum + score.words, 0),
    ];
    console.log(
      `word error rate, ${name}: ${(errors / words).toFixed(2)} (${errors} errors in ${words} words)`,
    );
    return { words, errors, wordErrorRate: Math.round((1000 * errors) / words) / 1000 };
  });
  return sums.at(-1)!;
}

const wordsOf = (text: string) => text.toLowerCase().match(/[a-z']+/g) ?? [];

/** Levenshtein distance in words: replaced, left out and added ones count alike. */
function compare(spoken: string[], heard: string[]): { errors: number; words: number } {
  let above = Array.from({ length: heard.length + 1 }, (_, i) => i);
  for (const [i, word] of spoken.entries()) {
    const row = [i + 1];
    for (const [j, other] of heard.entries())
      row.push(Math.min(above[j + 1] + 1, row[j] + 1, above[j] + (word === other ? 0 : 1)));
    above = row;
  }
  return { errors: above[heard.length], words: spoken.length };
}

await main();
