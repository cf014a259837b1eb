// The facts for people, in short aligned sections; the last one says what to do. It only arranges.

import { formatCores } from "../../cores.ts";
import type { CoreKind } from "../../machine/board.ts";
import type { NpuShare } from "../../machine/npu-folders.ts";
import { NPU_VENDORS } from "../../npu-vendors.ts";
import { size } from "../shared/log.ts";
import type { Facts, Folder, ModelForecast } from "./_facts.ts";
import { LIBRARY_TITLE, type Problem } from "./_problems.ts";

/** Width of the names at the start of the lines. */
const NAME_WIDTH = 11;
const GAP = "  ";

export function reportOf(facts: Facts, problems: readonly Problem[], verbose: boolean): string {
  const blocks = [
    [...machineLines(facts), ...coreLines(facts), ...memoryLines(facts)],
    [...libraryLines(facts, verbose), ...npuLines(facts, verbose), ...npuFolderLines(facts)],
    [...folderLines(facts), ...hubLines(facts), ...playerLines(facts)],
    modelLines(facts),
    forecastLines(facts),
    problemLines(problems),
  ];
  return `${blocks.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

/** Puts the name before the first line, and spaces before the others. */
function section(name: string, lines: readonly string[]): string[] {
  return lines.map((line, i) => `${(i === 0 ? name : "").padEnd(NAME_WIDTH)}${line}`);
}

/** Aligns cells below each other. */
function columns(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join(GAP)
      .trimEnd(),
  );
}

const short = (value: number) => (value < 9.95 ? value.toFixed(1) : value.toFixed(0));
const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function machineLines({ board, machine, program }: Facts): string[] {
  const name = board.model || machine.cpu;
  return section("machine", [
    `${name}: Linux ${machine.kernel}, ${machine.arch}, glibc ${machine.glibc}, Bun ${program.bun}`,
  ]);
}

function coreLines({ board: { cpuLimit, kinds, presentCores } }: Facts): string[] {
  const allowed = kinds.reduce((sum, { cores }) => sum + cores.length, 0);
  const unequal = kinds.length > 1;
  const rows = kinds.map((kind) => {
    const use = unequal ? (kind.fast ? "fast: these compute" : "slow: left to others") : "";
    return [
      formatCores(kind.cores),
      `${kind.cores.length} × ${kind.name || "unknown core"}`,
      clock(kind),
      caches(kind),
      use,
    ];
  });
  const limits = [
    ...(allowed < presentCores ? [`this process may use ${allowed} of ${plural(presentCores, "core")}`] : []),
    ...(cpuLimit === null ? [] : [`a container limit gives ${cpuLimit.toFixed(1)} cores' worth of time`]),
  ];
  const features = [...new Set(kinds.flatMap((kind) => kind.features))].join(" ");
  return section("cores", [
    ...(rows.length > 0 ? columns(rows) : []),
    ...(features === "" ? [] : [features]),
    ...limits,
  ]);
}

const clock = ({ governor, maxMhz }: CoreKind) =>
  [maxMhz === null ? "" : `${(maxMhz / 1000).toFixed(1)} GHz`, governor ?? ""].filter(Boolean).join(" ");

/** The caches that hold data, such as "L1 64 kB, L2 512 kB, L3 3 MB for 8". */
function caches({ caches: all }: CoreKind): string {
  const kilobytes = (bytes: number) =>
    bytes >= 2 ** 20 ? `${short(bytes / 2 ** 20).replace(/\.0$/, "")} MB` : `${bytes / 2 ** 10} kB`;
  const data = all.filter(({ type }) => type !== "instruction");
  return data
    .map(
      ({ bytes, level, sharedBy }) =>
        `L${level} ${kilobytes(bytes)}${sharedBy > 1 ? ` for ${sharedBy}` : ""}`,
    )
    .join(", ");
}

function memoryLines({ board: { memory }, measured }: Facts): string[] {
  const { availableBytes, limitBytes, swapBytes, swapFreeBytes, totalBytes } = memory;
  const swap = swapBytes === 0 ? "no swap" : `${size(swapFreeBytes)} of ${size(swapBytes)} swap free`;
  const limit = limitBytes === null ? "" : `, a container limit of ${size(limitBytes)}`;
  const { bandwidthBytesPerSecond, speed, threads } = measured;
  const reads = `reads ${short(bandwidthBytesPerSecond / 1e9)} GB/s with ${plural(threads, "thread")}`;
  const products =
    speed === null
      ? ""
      : `; weights of 4 bits ${short(speed.weights.q4_0 / 1e9)}, of 8 bits ${short(speed.weights.q8_0 / 1e9)}`;
  const arithmetic =
    speed === null ? [] : [`computes ${short((2 * speed.vocoder) / 1e9)} GFLOP/s a core in f32`];
  return section("memory", [
    `${size(totalBytes)}, ${size(availableBytes)} free${limit}, ${swap}`,
    reads + products,
    ...arithmetic,
  ]);
}

/** A path is shown if the file is not the package's own, or with --verbose. */
function libraryLines({ libraries }: Facts, verbose: boolean): string[] {
  const rows = libraries.map(({ failure, glibcNeeded, name, path, version }) => {
    const state =
      failure === null
        ? `${version}${glibcNeeded === "" ? "" : `, needs glibc ${glibcNeeded}`}`
        : "DOES NOT WORK, see below";
    return [
      LIBRARY_TITLE[name],
      state,
      failure === null && (verbose || !path.includes("/node_modules/")) ? path : "",
    ];
  });
  return section("libraries", columns(rows));
}

function npuLines({ npus }: Facts, verbose: boolean): string[] {
  const shown = npus.filter(({ present }) => present || verbose);
  const lines = shown.flatMap(({ devices, driver, library, name, present, problem }) => {
    const found = library === null ? "no library" : `${library.version} ${library.path}`.trim();
    const state = `${NPU_VENDORS[name].title}: ${[found, driver === "" ? "" : `driver ${driver}`, ...devices].filter(Boolean).join(", ")}`;
    return [problem === "" || present ? state : `${state}; ${problem.replace(/\s+/g, " ")}`];
  });
  return section("NPU", npus.some(({ present }) => present) ? lines : ["no NPU found", ...lines]);
}

/** What is wrong with a folder stands among the problems. */
function npuFolderLines({ npuFolders }: Facts): string[] {
  const lines = npuFolders.flatMap(({ chip, path, share, target, toolkit }) => {
    const built = [chip || target, toolkit === "" ? "" : `toolkit ${toolkit}`].filter(Boolean).join(", ");
    return [`${path}${built === "" ? "" : `: for ${built}`}`, ...(share === null ? [] : shareLines(share))];
  });
  return section("NPU models", lines);
}

function shareLines({
  bytesPerFrame,
  cpuMs,
  leastCpuOperators,
  leastMs,
  multiplications,
}: NpuShare): string[] {
  const work = `forecast: ${(100 * multiplications).toFixed(0)} % of the vocoder's multiply-adds, ${size(bytesPerFrame)} a frame`;
  const operators = `at least ${plural(leastCpuOperators, "operator")} of a run on the CPU`;
  const least = leastMs === null ? [] : [`at least ${short(leastMs)} ms a frame`];
  const here = cpuMs === null ? [] : [`this CPU takes about ${short(cpuMs)}`];
  const times = [...least, ...here];
  return [`${GAP}${work}, ${operators}`, ...(times.length === 0 ? [] : [`${GAP}${times.join("; ")}`])];
}

function folderLines({ folders: { cache, voices } }: Facts): string[] {
  const line = (title: string, { freeBytes, path, writable }: Folder) => {
    return [
      title,
      path,
      `${writable ? "writable" : "NOT WRITABLE"}${freeBytes === null ? "" : `, ${size(freeBytes)} free`}`,
    ];
  };
  return section("folders", columns([line("models", cache), line("voices", voices)]));
}

function hubLines({ hub: { endpoint, offline, problem, token } }: Facts): string[] {
  if (problem !== "") return section("hub", ["settings cannot be used, see below"]);
  return section("hub", [
    `${endpoint}${offline ? ", offline: nothing is fetched" : ""}, ${token ? "with a token" : "no token"}`,
  ]);
}

function playerLines({ players }: Facts): string[] {
  if (players.length === 0)
    return section("players", ["none found; install alsa-utils (aplay) to listen while it speaks"]);
  const names = players.map(({ name, usable }) =>
    usable ? name : `${name} (its sound server does not run)`,
  );
  const chosen = players.find(({ usable }) => usable);
  return section("players", [
    `${names.join(", ")}${chosen === undefined ? "" : `; tts --play takes ${chosen.name}`}`,
  ]);
}

function modelLines({ models }: Facts): string[] {
  const here = models.filter((model) => model.here !== "no");
  const rows = here.map(({ bundles, checkpointBytes, here: state, name }) => {
    const prepared =
      bundles
        .map(({ bytes, fault, weights }) => `${weights} ${size(bytes)}${fault === "" ? "" : " unusable"}`)
        .join(", ") || "not prepared yet";
    return [name, state, checkpointBytes === 0 ? "-" : size(checkpointBytes), prepared];
  });
  return section("models", rows.length === 0 ? ["none"] : columns(rows));
}

function forecastLines({ forecasts, models: here }: Facts): string[] {
  if (forecasts === null) return section("forecast", ["none: the libraries have to work first"]);
  const rows = forecasts.map((model) => {
    const { firstSoundMs, memoryBytes, models, rtf, weights } = model;
    return [
      models.join(" "),
      weights.replace("-", ", "),
      rtf < 0.995 ? rtf.toFixed(2) : rtf.toFixed(1),
      `${(firstSoundMs / 1000).toFixed(2)} s`,
      size(memoryBytes),
      here.some(({ bundles, name }) => models.includes(name) && bundles.some(({ fault }) => fault !== ""))
        ? "is made again first: see below"
        : verdict(model),
    ];
  });
  const heads = ["of each model, ± 25 %", "weights", "RTF", "first sound", "memory", ""];
  return section("forecast", columns([heads, ...rows]));
}

function verdict({
  conversionBytes,
  diskBytes,
  fitsDisk,
  fitsMemory,
  memoryBytes,
  rtf,
}: ModelForecast): string {
  if (!fitsMemory) return "does not fit into the free memory";
  if (!fitsDisk) return `needs ${size(diskBytes)} of disk`;
  const peak = conversionBytes > memoryBytes ? `; ${size(conversionBytes)} while it is converted` : "";
  return `fits, ${rtf < 0.9 ? "speaks at once" : rtf <= 1.1 ? "about real time" : "slower than real time: for files"}${peak}`;
}

function problemLines(problems: readonly Problem[]): string[] {
  if (problems.length === 0) return section("problems", ["none"]);
  return [
    "problems",
    ...problems.flatMap(({ serious, todo, what }) => [
      `${GAP}${serious ? "✗" : "!"} ${what}`,
      `${GAP}  → ${todo}`,
    ]),
  ];
}
