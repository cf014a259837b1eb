// Everything that tts doctor says about a machine, in the form that --json prints. It comes from the kernel,
// the libraries, the folders and measurements; no network is used.

import { existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { version } from "../../../package.json";
import { installedPlayers } from "../../audio/play/players.ts";
import { type Config, DEFAULT_MODEL, DEFAULT_WEIGHTS, loadHubConfig, weightTypes } from "../../config.ts";
import { officialShape, type SyntheticSize } from "../../convert/synthetic.ts";
import { asTtsError, meaningOf } from "../../errors.ts";
import { weightsInWords } from "../../formats/bundle.ts";
import { isNpuFolder, NPU_IN_BUNDLE } from "../../formats/npu-folder.ts";
import { type Board, describeBoard } from "../../machine/board.ts";
import { measureSpeed, type Speed } from "../../machine/compute-speed.ts";
import { type Forecast, forecast } from "../../machine/forecast.ts";
import { type PlannedModel, type PlannedType, plannedCosts, readPlan } from "../../machine/frame-cost.ts";
import {
  describeLibrary,
  describeNpu,
  type LibraryFacts,
  NEEDED_LIBRARIES,
  type NpuFacts,
} from "../../machine/libraries.ts";
import {
  coreTime,
  describeMachine,
  libcVersion,
  type Machine,
  othersShare,
  processMs,
} from "../../machine/load.ts";
import { measureBandwidth } from "../../machine/memory-speed.ts";
import { describeNpuFolder, type NpuFolderFacts } from "../../machine/npu-folders.ts";
import { faultOf } from "../../models/cache.ts";
import { KNOWN_MODELS } from "../../models/catalog.ts";
import { inventory, type ModelRow } from "../../models/inventory.ts";
import { spaceNeeded } from "../../models/pull.ts";
import { shippedCheckpoint } from "../../models/resolve.ts";
import { NPU_NAMES, NPU_VENDORS } from "../../npu-vendors.ts";
import { clearProgress, showProgress } from "../shared/log.ts";

/** How long the machine is watched before anything is measured. */
const WATCH_MS = 300;
/** Share of the available memory that a model may take: other programs need some, too. */
const MEMORY_SHARE = 0.95;
export interface Folder {
  path: string;
  writable: boolean;
  /** Why it is not writable, or "". */
  reason: string;
  /** Free space of its file system; null if it is unknown. */
  freeBytes: number | null;
}

interface Measured {
  /** Threads of talker and code predictor, and of their prompts. */
  threads: number;
  promptThreads: number;
  /** Measured with `threads` threads. */
  bandwidthBytesPerSecond: number;
  /** null if the libraries do not work. */
  speed: Speed | null;
  /** Why there is no speed though the libraries load, or "". */
  failure: string;
  /** Share of all cores' time that other programs used before the measurement. */
  othersShare: number;
}

export interface ModelForecast extends Forecast {
  /** Models of one size. */
  models: string[];
  weights: string;
  fitsMemory: boolean;
  /** Space to fetch and convert one of them; 0 for the model that is part of the program. */
  diskBytes: number;
  fitsDisk: boolean;
}

interface Hub {
  endpoint: string;
  offline: boolean;
  /** Whether a token is set. The token itself is never shown. */
  token: boolean;
  /** Why the settings cannot be used, or "". */
  problem: string;
  hint: string;
}

/** Readers of --json rely on the keys. */
export interface Facts {
  program: { tts: string; bun: string };
  machine: Machine & { glibc: string };
  board: Board;
  measured: Measured;
  libraries: LibraryFacts[];
  /** `present`: something of it is on this machine. */
  npus: (NpuFacts & { present: boolean })[];
  /** Folders of models for an NPU: the one that was named, and those in bundles of the cache. */
  npuFolders: NpuFolderFacts[];
  folders: { cache: Folder; voices: Folder };
  hub: Hub;
  /** `usable`: its sound server runs, or it needs none. */
  players: { name: string; path: string; usable: boolean }[];
  models: ModelRow[];
  /** null if nothing could be measured. */
  forecasts: ModelForecast[] | null;
}

export async function collectFacts(config: Config): Promise<Facts> {
  const steps = ["libraries", "memory", "processor"];
  const step = (index: number) => showProgress(`looking at ${steps[index]}`, index, steps.length);
  try {
    step(0);
    const board = describeBoard();
    const [libraries, npus] = await Promise.all([
      Promise.all(NEEDED_LIBRARIES.map((name) => describeLibrary(name, config))),
      Promise.all(NPU_NAMES.map((name) => describeNpu(name, config))),
    ]);
    const working = libraries.every(({ failure }) => failure === null);
    const measured = await measure(config, working, step);
    const folders = { cache: describeFolder(config.cacheDir), voices: describeFolder(config.voicesDir) };
    const cores = Math.min(
      board.kinds.filter(({ fast }) => fast).flatMap((kind) => kind.cores).length,
      Math.ceil(board.cpuLimit ?? 1e9),
    );
    const models = modelsIn(config.cacheDir);
    return {
      program: { tts: version, bun: Bun.version },
      machine: { ...describeMachine(), glibc: libcVersion() },
      board,
      measured,
      libraries,
      npus: npus.map((npu) => ({ ...npu, present: isPresent(npu, board, config) })),
      npuFolders: npuFolders(config.npu, models).map((path) =>
        describeNpuFolder(path, board.chip, {
          bandwidth: measured.bandwidthBytesPerSecond,
          vocoder: measured.speed?.vocoder ?? null,
        }),
      ),
      folders,
      hub: describeHub(),
      players: installedPlayers(),
      models,
      forecasts: measured.speed === null ? null : forecasts(measured.speed, { board, folders, cores }),
    };
  } finally {
    clearProgress();
  }
}

async function measure(config: Config, working: boolean, step: (index: number) => void): Promise<Measured> {
  const { cpus, promptThreads, threads } = config;
  const [from, ownMs] = [coreTime(), processMs()];
  await Bun.sleep(WATCH_MS);
  const share = othersShare(from, coreTime(), processMs() - ownMs);
  step(1);
  const bandwidthBytesPerSecond = await measureBandwidth(threads, cpus.talker);
  step(2);
  const figures = { threads, promptThreads, bandwidthBytesPerSecond, othersShare: share };
  if (!working) return { ...figures, speed: null, failure: "" };
  try {
    return {
      ...figures,
      speed: await measureSpeed({ libraries: config.libraries, threads, promptThreads, cpus }),
      failure: "",
    };
  } catch (thrown) {
    return { ...figures, speed: null, failure: asTtsError(thrown).message };
  }
}

/** @param named "" names none */
function npuFolders(named: string, models: readonly ModelRow[]): string[] {
  const inBundles = models
    .flatMap(({ bundles }) => bundles.map(({ directory }) => join(directory, NPU_IN_BUNDLE)))
    .filter(isNpuFolder);
  return [...(named === "" ? [] : [named]), ...inBundles];
}

/** Whether something of the NPU is here. A device counts only if it certainly belongs to this NPU. */
function isPresent(
  { devices, driver, library, name }: NpuFacts,
  { chip }: Board,
  { libraries }: Config,
): boolean {
  if (library !== null || driver !== "" || libraries[name] !== "") return true;
  return [chip, ...devices].some((text) => NPU_VENDORS[name].sign.test(text));
}

/**
 * Writes to the folder to find out whether it is writable; if it does not exist, to the nearest folder above
 * that does. Nothing stays behind.
 */
export function describeFolder(path: string): Folder {
  let existing = path;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  const freeBytes = freeOf(existing);
  try {
    const trial = mkdtempSync(join(existing, ".tts-doctor-"));
    try {
      writeFileSync(join(trial, "trial"), "trial");
    } finally {
      rmSync(trial, { recursive: true, force: true });
    }
    return { path, writable: true, reason: "", freeBytes };
  } catch (error) {
    return { path, writable: false, reason: meaningOf(error, "write").what, freeBytes };
  }
}

function freeOf(folder: string): number | null {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return null;
  }
}

function describeHub(): Hub {
  try {
    const { endpoint, offline, token } = loadHubConfig();
    return { endpoint, offline, token: token !== "", problem: "", hint: "" };
  } catch (thrown) {
    const { hint, message } = asTtsError(thrown);
    return { endpoint: "", offline: false, token: false, problem: message, hint };
  }
}

/**
 * A cache that cannot be read holds no models. Of the shipped voice, which one speaks with first, every byte
 * is looked at.
 */
function modelsIn(cacheDir: string): ModelRow[] {
  try {
    const [shipped, ...others] = inventory(cacheDir);
    const bundles = shipped.bundles.map((row) => ({ ...row, fault: faultOf(row.directory) ?? "" }));
    return [{ ...shipped, bundles }, ...others];
  } catch {
    return [];
  }
}

interface Room {
  board: Board;
  folders: Facts["folders"];
  /** Fast cores that this process may use. */
  cores: number;
}

function forecasts(speed: Speed, room: Room): ModelForecast[] {
  const small = weightTypes("f32") as Record<"talker" | "predictor", PlannedType>;
  const usual = weightTypes(DEFAULT_WEIGHTS) as typeof small;
  const sizes = Map.groupBy(Object.keys(KNOWN_MODELS), (name) => KNOWN_MODELS[name].modelSize);
  return [
    forecastOf([DEFAULT_MODEL], readPlan(shippedCheckpoint()), small, 0),
    ...[...sizes].map(([size, names]) => {
      const plan = officialShape(size.toLowerCase() as SyntheticSize);
      return forecastOf(
        names,
        plan,
        usual,
        Math.max(...names.map((name) => spaceNeeded(KNOWN_MODELS[name]))),
      );
    }),
  ];

  function forecastOf(
    models: string[],
    plan: PlannedModel,
    weights: typeof small,
    diskBytes: number,
  ): ModelForecast {
    const predicted = forecast(
      { costs: plannedCosts(plan, weights), layers: layersOf(plan), weights },
      speed,
      room.cores,
    );
    const fitsMemory = predicted.memoryBytes <= MEMORY_SHARE * room.board.memory.availableBytes;
    const fitsDisk = diskBytes <= (room.folders.cache.freeBytes ?? 0);
    return { models, weights: weightsInWords(weights), ...predicted, fitsMemory, diskBytes, fitsDisk };
  }
}

function layersOf({ tensors }: PlannedModel): { talker: number; predictor: number } {
  const count = (prefix: string) =>
    tensors.filter(({ name }) => name.startsWith(prefix) && name.endsWith(".input_layernorm.weight")).length;
  return { talker: count("talker.model.layers."), predictor: count("talker.code_predictor.model.layers.") };
}
