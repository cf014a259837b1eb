// make load: a real tts serve under load, and what it takes to be heard through it. Fails where a sound is
// lost or mixed up, where memory or open files grow, and where a speech that was cut passes for a whole one.
// Figures are printed and not judged: they depend on the machine and on what else it does.

import { parseArgs } from "node:util";
import { type CrowdResult, crowd, summaryOf } from "./load/crowd.ts";
import { cancel, lanes, restart } from "./load/ends.ts";
import { firstAudio, openBenchEngine } from "./load/first-audio.ts";
import { type Holds, loadAverage, Server } from "./load/server.ts";

const PARTS = ["crowd", "first", "ends", "lanes"] as const;
type Part = (typeof PARTS)[number];

interface Options {
  /** Of the crowd, which the starter voice speaks. */
  speeches: number;
  /** Of everything but the crowd. */
  model: string;
  rounds: number;
  parts: readonly Part[];
}

/** Memory settles while the first speeches run; from there on it may grow by this much. */
const SETTLED_SHARE = 0.4;
const MOST_GROWTH = 1.1;
const MOST_GROWTH_MB = 16;
const MOST_HANDLES_MORE = 2;
const SIDE_BY_SIDE = 4;
const TAKEN_SECONDS = 2;
const SHOWN = 10;

/** @throws Error in one line */
export function readOptions(args: string[]): Options {
  const options = {
    speeches: { type: "string" },
    model: { type: "string" },
    rounds: { type: "string" },
    parts: { type: "string" },
  } as const;
  const { values } = parseArgs({ args, options });
  const whole = (name: "speeches" | "rounds", usual: number) => {
    const value = Number(values[name] || usual);
    if (!Number.isSafeInteger(value) || value < 1)
      throw new Error(`${name.toUpperCase()} is ${values[name]}: give a whole number from 1 on`);
    return value;
  };
  const parts = (values.parts || PARTS.join(" ")).split(/[\s,]+/);
  const unknown = parts.find((part) => !PARTS.includes(part as Part));
  if (unknown !== undefined)
    throw new Error(`there is no part "${unknown}": PARTS takes ${PARTS.join(", ")}`);
  return {
    speeches: whole("speeches", 1_000),
    model: values.model || "starter",
    rounds: whole("rounds", 15),
    parts: parts as Part[],
  };
}

/** Whether memory or open files have grown since they settled. */
export function growth(samples: CrowdResult["samples"]): string[] {
  const settled = samples[Math.floor(SETTLED_SHARE * samples.length)];
  const [first, last] = [samples[0], samples.at(-1)!];
  return (["server", "engine"] as const).flatMap((name) => {
    const grown: string[] = [];
    const most = MOST_GROWTH * settled[name].rssMb + MOST_GROWTH_MB;
    if (last[name].rssMb > most)
      grown.push(`the ${name} grows from ${settled[name].rssMb} to ${last[name].rssMb} MB`);
    if (last[name].handles > first[name].handles + MOST_HANDLES_MORE)
      grown.push(`the ${name} has ${last[name].handles} open files, not ${first[name].handles}`);
    return grown;
  });
}

const print = (name: string, figures: string) =>
  console.log(`${name.padEnd(22)} ${figures}  [load ${loadAverage()}]`);
const ms = (value: number) => `${value.toFixed(value < 100 ? 1 : 0)} ms`;

async function runCrowd({ speeches }: Options): Promise<string[]> {
  await using stack = new AsyncDisposableStack();
  const server = await Server.start([]);
  stack.defer(async () => void (await server.end()));
  const startMs = performance.now();
  const result = await crowd(server, speeches);
  const { left, load, lost, mixedUp, refused, samples, whole } = result;
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  print("speeches", `${whole} heard whole, ${left} left, ${refused} told to come again; ${seconds} s`);
  print("malformed requests", `${result.malformed}`);
  print("first audio, 1 client", summaryOf(result.aloneMs));
  print("first audio, 8 clients", `${summaryOf(result.togetherMs)}, load at the end ${load}`);
  const held = ({ handles, rssMb }: Holds) => `${rssMb} MB ${handles} files`;
  for (const { done, engine, server: front } of samples)
    print(`after ${done}`, `server ${held(front)}, engine ${held(engine)}`);
  if (server.said !== "") print("the server said", server.said.split("\n").slice(0, SHOWN).join(" | "));
  const status = await server.end();
  return [
    ...(status === 0 ? [] : [`the server ended with status ${status}`]),
    ...lost.map((line) => `lost: ${line}`),
    ...mixedUp.map((line) => `mixed up: ${line}`),
    ...growth(samples),
  ];
}

async function runFirstAudio({ model, rounds }: Options): Promise<string[]> {
  await using stack = new AsyncDisposableStack();
  const server = await Server.start(["-m", model], { TTS_PREFIX_CACHE: "off" });
  stack.defer(async () => void (await server.end()));
  const engine = stack.use(await openBenchEngine(model));
  for (const { engineMs, format, httpMs, ratio } of await firstAudio(engine, server, rounds))
    print(`first audio, ${format}`, `engine ${ms(engineMs)}, HTTP ${ms(httpMs)}, ratio ${ratio.toFixed(3)}`);
  return [];
}

async function runEnds({ model, rounds }: Options): Promise<string[]> {
  await using stack = new AsyncDisposableStack();
  const server = await Server.start(["-m", model, "--lanes", "1"]);
  stack.defer(async () => void (await server.end()));
  const { freeMs, laterMs } = await cancel(server, rounds);
  print(
    "a client goes",
    `place free after ${ms(freeMs)}, the next one sounds ${ms(laterMs)} later than alone`,
  );
  const { backMs, faults, refusals } = await restart(server);
  print("the engine is killed", `sound after ${ms(backMs)}, 503 with Retry-After ${refusals} times`);
  return faults;
}

async function runLanes({ model, rounds }: Options): Promise<string[]> {
  await using stack = new AsyncDisposableStack();
  const server = await Server.start(["-m", model]);
  stack.defer(async () => void (await server.end()));
  const took = await lanes(server, SIDE_BY_SIDE, TAKEN_SECONDS, Math.ceil(rounds / 5));
  const { isSame, parallelMs, ratio, seconds, serialMs, speeches } = took;
  print(
    `${speeches} speeches of ${seconds} s`,
    `one after another ${ms(serialMs)}, at once ${ms(parallelMs)}: ${ratio.toFixed(2)} times as fast`,
  );
  return isSame ? [] : ["side by side speeches sound differently"];
}

const RUNS: Readonly<Record<Part, (options: Options) => Promise<string[]>>> = {
  crowd: runCrowd,
  first: runFirstAudio,
  ends: runEnds,
  lanes: runLanes,
};

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const faults: string[] = [];
  for (const part of options.parts) faults.push(...(await RUNS[part](options)));
  for (const fault of faults.slice(0, SHOWN)) console.log(fault);
  console.log(faults.length === 0 ? "nothing lost, nothing mixed up" : `${faults.length} faults`);
  if (faults.length > 0) process.exitCode = 1;
}

if (import.meta.main)
  await main().catch((error: Error) => {
    console.error(`load: ${error.message.split("\n")[0]}`);
    process.exit(1);
  });
