// Is this checkout faster than another commit, or larger? `make compare AGAINST=COMMIT` unpacks COMMIT beside
// it and measures both in turn, so that changes of the machine's load meet both alike. For each model, a
// round measures first the commit, then this checkout: `tts bench --json`, and a whole new process that
// speaks a sentence into a pipe, as an announcement does. Every round starts new processes.
//
//   make compare AGAINST=HEAD~1 [ROUNDS=5] [MODELS="starter 0.6b"] [BENCH="--frames 20 --lanes 1,4"]
//
// A model is starter, or the size of a random one (2.5 GB for 0.6b), which is made once in the cache. Bundles
// are made once a comparison, in a cache for each side. The table goes to standard output, all else to
// standard error; nothing is judged, and nothing is left behind.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../../src/config.ts";
import { textOrEmpty } from "../../src/io/read.ts";
import { ROOT } from "../_support.ts";

/**
 * Free bytes that a comparison needs: two bundles; and the checkpoint of a random model, where it is still to
 * be made.
 */
const SPACE: Record<string, { bundles: number; checkpoint: number }> = {
  starter: { bundles: 0.3e9, checkpoint: 0 },
  "0.6b": { bundles: 3e9, checkpoint: 2.6e9 },
  "1.7b": { bundles: 5e9, checkpoint: 4.6e9 },
};
/** Frames of the sentence in a new process: a random model does not end by itself. */
const MOST_FRAMES: Record<string, number> = { starter: 100, "0.6b": 20, "1.7b": 20 };
/** How often the memory of a process is read. */
const WATCH_MS = 10;
const LEAST_FIGURE_WIDTH = 24;

/** Figure -> value of one measurement. */
export type Figures = Record<string, number>;
/** One thing measured on both sides: a configuration of the bench, or the new process. */
interface Subject {
  title: string;
  pairs: { before: Figures; now: Figures }[];
}
interface Side {
  name: "before" | "now";
  /** The folder of the checkout. */
  folder: string;
  /** The cache of its bundles. */
  cache: string;
}
interface Options {
  against: string;
  rounds: number;
  models: string[];
  bench: string[];
}
/** The part of what `tts bench --json` prints that both commits surely have. */
interface BenchResult {
  machine: { cpu: string; cores: number; memoryMb: number; busyDuring?: number };
  runs: Record<string, unknown>[];
}

/** Fields of a run that say what was measured, not how it went. */
const SETTINGS = ["model", "lanes", "threads", "weights", "predictor", "frames", "repeat"];

/** Every number of a run by its path; entries of a list by their name. */
export function figuresOf(value: unknown, path = ""): Figures {
  if (typeof value === "number") return { [path]: value };
  if (typeof value !== "object" || value === null) return {};
  const entries = Object.entries(value).filter(([key]) => path !== "" || !SETTINGS.includes(key));
  const named = entries.map(([key, item]) => {
    const name = Array.isArray(value) ? ((item as { name?: string }).name ?? key) : key;
    return figuresOf(item, path === "" ? name : `${path}.${name}`);
  });
  return Object.assign({}, ...named);
}

const median = (values: number[]) => {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

/**
 * Lines of a table: both medians, then median, lowest and highest of the ratios pair by pair. "-" stands
 * where a side has no such figure.
 */
export function tableOf({ pairs, title }: Subject): string[] {
  const names = [
    ...new Set(pairs.flatMap(({ before, now }) => [...Object.keys(now), ...Object.keys(before)])),
  ];
  const width = Math.max(LEAST_FIGURE_WIDTH, ...names.map((name) => name.length));
  const row = (name: string, ...cells: string[]) =>
    `  ${name.padEnd(width)}${cells.map((cell) => cell.padStart(13)).join("")}`.trimEnd();
  const figures = names.map((name) => {
    const of = (side: "before" | "now") => pairs.flatMap((pair) => pair[side][name] ?? []);
    const middle = (values: number[]) => (values.length === 0 ? "-" : shown(median(values)));
    const ratios = pairs.map(({ before, now }) => now[name] / before[name]).filter(Number.isFinite);
    const spread =
      ratios.length === 0
        ? ["-"]
        : [median(ratios), Math.min(...ratios), Math.max(...ratios)].map((ratio) => ratio.toFixed(3));
    return row(name, middle(of("before")), middle(of("now")), ...spread);
  });
  return ["", title, row("", "before", "now", "now/before", "lowest", "highest"), ...figures];
}

const shown = (value: number) =>
  Number.isInteger(value) ? String(value) : value.toPrecision(5).replace(/\.?0+$/, "");

/** @throws Error with one line */
export function readOptions(args: string[]): Options {
  const options = {
    rounds: { type: "string" },
    models: { type: "string" },
    bench: { type: "string" },
  } as const;
  const { positionals, values } = parseArgs({ args, options, allowPositionals: true });
  const words = (text = "") => text.split(/\s+/).filter((word) => word !== "");
  const [against, ...others] = positionals.filter((word) => word !== "");
  if (against === undefined || others.length > 0)
    throw new Error("name one commit: make compare AGAINST=HEAD~1");
  const rounds = Number(values.rounds || 5);
  if (!Number.isSafeInteger(rounds) || rounds < 1)
    throw new Error(`ROUNDS is ${values.rounds}: give a whole number from 1 on`);
  const models = words(values.models || "starter 0.6b");
  const unknown = models.find((model) => !Object.hasOwn(SPACE, model));
  if (unknown !== undefined)
    throw new Error(`there is no model "${unknown}": MODELS takes ${Object.keys(SPACE).join(", ")}`);
  return { against, rounds, models, bench: words(values.bench) };
}

/** The process that this one waits for and must end with itself. */
let running: Bun.Subprocess | null = null;
let stopping = false;

interface Ran {
  stdout: string;
  figures: Figures;
}

/** Runs a program of a side to its end. @throws Error naming it, with the last line that it said */
async function run(
  title: string,
  command: string[],
  cwd: string,
  env: Record<string, string | undefined> = process.env,
): Promise<Ran> {
  if (stopping) throw new Error("a signal came");
  const startMs = performance.now();
  const child = Bun.spawn(command, { cwd, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  running = child;
  const said = child.stderr.text();
  const memory = watchMemory(child.pid);
  const chunks: Uint8Array[] = [];
  let firstByteMs = 0;
  for await (const chunk of child.stdout) {
    if (chunks.length === 0) firstByteMs = performance.now() - startMs;
    chunks.push(chunk);
  }
  const status = await child.exited;
  const wallMs = performance.now() - startMs;
  running = null;
  if (status !== 0) {
    const lastLine = (await said).trim().split("\n").at(-1) ?? "";
    throw new Error(
      `${title} ended with ${child.signalCode ?? `status ${status}`}${lastLine === "" ? "" : `: ${lastLine}`}`,
    );
  }
  const [maxRssMb, maxAnonMb] = [child.resourceUsage()!.maxRSS / 1e6, memory.stop() / 1e6];
  return { stdout: Buffer.concat(chunks).toString(), figures: { wallMs, firstByteMs, maxRssMb, maxAnonMb } };
}

/** Follows the memory of a process that no file backs. `stop` gives the most that was seen, in bytes. */
function watchMemory(pid: number): { stop: () => number } {
  let most = 0;
  const look = () => {
    const kilobytes = /^RssAnon:\s+(\d+)/m.exec(textOrEmpty(`/proc/${pid}/status`))?.[1];
    most = Math.max(most, 1024 * Number(kilobytes ?? 0));
  };
  const timer = setInterval(look, WATCH_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return most;
    },
  };
}

const git = async (...args: string[]) => (await run(`git ${args[0]}`, ["git", ...args], ROOT)).stdout.trim();

/** The files of a commit, with packages: ours where the lockfile is the same. */
async function checkOut(commit: string, folder: string): Promise<void> {
  mkdirSync(folder);
  await run("git archive", ["sh", "-c", 'git archive "$1" | tar -x -C "$2"', "sh", commit, folder], ROOT);
  const same = ["package.json", "bun.lock"].every((name) => {
    const theirs = join(folder, name);
    return existsSync(theirs) && readFileSync(theirs).equals(readFileSync(join(ROOT, name)));
  });
  if (same) symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  else await run("make setup of the commit", ["make", "setup"], folder);
}

const tts = (side: Side, what: string, args: string[], env: Record<string, string> = {}) => {
  const command = [join(side.folder, "node_modules/.bin/bun"), join(side.folder, "tts.ts"), ...args];
  return run(`${what} (${side.name})`, command, side.folder, {
    ...process.env,
    TTS_CACHE: side.cache,
    ...env,
  });
};

async function bench(side: Side, model: string, args: string[]): Promise<BenchResult> {
  const which = model === "starter" ? ["-m", "starter"] : ["--synthetic", model];
  return JSON.parse(
    (await tts(side, `tts bench ${which.join(" ")}`, ["bench", "--json", ...which, ...args])).stdout,
  );
}

/** Speaks another sentence each round, so that no cache knows it, and the same one on both sides. */
async function announce(side: Side, model: string, round: number): Promise<Figures> {
  const text = `Train ${round + 11} to Cambridge leaves from platform ${(round % 9) + 1}.`;
  const which = model === "starter" ? model : join(side.cache, "synthetic", model);
  const args = [
    text,
    "--seed",
    "1",
    "--max-frames",
    String(MOST_FRAMES[model]),
    "--format",
    "pcm",
    "-o",
    "-",
    "-m",
    which,
  ];
  return (await tts(side, "tts TEXT", args, { TTS_PREFIX_CACHE: "off" })).figures;
}

/** Measures all rounds. @returns the machine, too */
async function measure(
  sides: Side[],
  { bench: args, models, rounds }: Options,
): Promise<{ machine: string; subjects: Subject[] }> {
  for (const model of models) {
    for (const side of sides) {
      console.error(`compare: preparing ${model}, ${side.name}`);
      await bench(side, model, [...args, "--frames", "2", "--repeat", "1"]);
      await announce(side, model, 0);
    }
  }
  const subjects = new Map<string, Subject>();
  const note = (key: string, title: string, round: number, side: Side, figures: Figures) => {
    const subject = subjects.get(key) ?? { title, pairs: [] };
    subjects.set(key, subject);
    subject.title = title;
    subject.pairs[round] ??= { before: {}, now: {} };
    subject.pairs[round][side.name] = figures;
  };
  let [machine, busiest] = ["", 0];
  for (let round = 0; round < rounds; round++) {
    for (const model of models) {
      for (const side of sides) {
        console.error(`compare: round ${round + 1} of ${rounds}: tts bench, ${model}, ${side.name}`);
        const { machine: m, runs } = await bench(side, model, args);
        busiest = Math.max(busiest, m.busyDuring ?? 0);
        machine = `${m.cpu}, ${m.cores} cores, ${(m.memoryMb / 1e3).toFixed(1)} GB; others took up to ${(100 * busiest).toFixed(0)} % of it`;
        for (const [i, one] of runs.entries()) {
          const title = `tts bench, ${model}: lanes ${one.lanes}, threads ${one.threads}, ${one.weights}`;
          note(`${model} ${i}`, title, round, side, figuresOf(one));
        }
      }
      for (const side of sides)
        note(model, `a new process, ${model}`, round, side, await announce(side, model, round + 1));
    }
  }
  return { machine, subjects: [...subjects.values()] };
}

/** Makes the folder of everything that goes away again, in the cache, where there is space for models. */
function makeFolder(models: string[]): { folder: string; synthetic: string } {
  const { cacheDir } = loadConfig();
  const synthetic = join(cacheDir, "synthetic");
  mkdirSync(models.some((model) => SPACE[model].checkpoint > 0) ? synthetic : cacheDir, {
    recursive: true,
    mode: 0o700,
  });
  const needed = models.reduce((sum, model) => {
    const { bundles, checkpoint } = SPACE[model];
    return sum + bundles + (existsSync(join(synthetic, model)) ? 0 : checkpoint);
  }, 0);
  const { bavail, bsize } = statfsSync(cacheDir);
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  if (bavail * bsize < needed)
    throw new Error(
      `${models.join(" and ")} need ${gb(needed)} in ${cacheDir}, which has ${gb(bavail * bsize)}: free space, or set TTS_CACHE`,
    );
  return { folder: mkdtempSync(join(cacheDir, "compare-")), synthetic };
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const described = ["log", "-1", "--format=%h %s"];
  const commit = await git("rev-parse", "--verify", "--quiet", `${options.against}^{commit}`).catch(() => {
    throw new Error(`there is no commit ${options.against}`);
  });
  const changed = (await git("status", "--porcelain")) === "" ? "" : ", with changes that are not committed";
  const { folder, synthetic } = makeFolder(options.models);
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const sides = (["before", "now"] as const).map((name): Side => {
    const cache = join(folder, `cache-${name}`);
    mkdirSync(cache, { mode: 0o700 });
    symlinkSync(synthetic, join(cache, "synthetic"));
    return { name, folder: name === "now" ? ROOT : join(folder, "checkout"), cache };
  });
  await checkOut(commit, join(folder, "checkout"));
  const { machine, subjects } = await measure(sides, options);
  const head = [
    `machine  ${machine}`,
    `before   ${await git(...described, commit)}`,
    `now      ${await git(...described)}${changed}`,
    `rounds   ${options.rounds}, in turn; medians; then median, lowest and highest of the ratios pair by pair`,
  ];
  console.log([...head, ...subjects.flatMap(tableOf)].join("\n"));
}

if (import.meta.main) {
  for (const [signal, number] of [
    ["SIGINT", 2],
    ["SIGTERM", 15],
    ["SIGHUP", 1],
  ] as const) {
    process.once(signal, async () => {
      stopping = true;
      running?.kill();
      await running?.exited;
      process.exit(128 + number);
    });
  }
  await main().catch((error: Error) => {
    if (stopping) return;
    console.error(`compare: ${error.message.split("\n")[0]}`);
    process.exit(1);
  });
}
