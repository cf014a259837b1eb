// tts models: what exists, what is here, and what it takes on the disk. Asks no network.

import { lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../config.ts";
import { TtsError } from "../errors.ts";
import { openBundle, type PromptSpec, weightsInWords } from "../formats/bundle.ts";
import { readAbilities } from "../formats/checkpoint-abilities.ts";
import { printText } from "../io/output.ts";
import {
  type Abilities,
  abilitiesInWords,
  findPulled,
  firstMissing,
  KNOWN_MODELS,
  listPulled,
  modelFolder,
  nameOf,
  subfolders,
} from "../models/catalog.ts";
import { bundlesFolders, SHIPPED, shippedCheckpoint, sourceOf } from "../models/resolve.ts";
import { languageNames } from "../text/prompt.ts";
import type { Command } from "./manual/page.ts";
import { COMMON, type Options } from "./shared/options.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { COMMON, type Options, type Values } from "./shared/options.ts";

const options = {
  json: { type: "boolean", description: "Print a list of JSON objects, with sizes in bytes.", group: "Output" },
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "list models, and what is here of them",
  synopsis: "models [OPTIONS]",
  description: [
    "Lists the models that have a name and everything in the cache: whether it is here, the size on disk of its checkpoint and of the bundles made from it, and what it can do.",
    "A file that checkpoint and bundle share counts for the checkpoint.",
  ],
  examples: [
    ["tts models", "one line per model"],
    [
      'tts models --json | jq -r \'.[] | select(.here == "yes" or .here == "built in") | .name\'',
      "the names of those that can speak at once",
    ],
  ],
  options,
  run: models,
});

/** `in part`: a pull was not finished, or files are gone. `bundle only`: made from a checkpoint outside of the cache. */
type Here = "built in" | "yes" | "in part" | "no" | "bundle only";

interface BundleRow {
  weights: string;
  directory: string;
  bytes: number;
}

export interface Row {
  name: string;
  /** Hub id, or null. */
  hub: string | null;
  here: Here;
  /** On disk, all revisions and unfinished files together. */
  checkpointBytes: number;
  /** To fetch; null where it is not known. */
  downloadBytes: number | null;
  bundles: BundleRow[];
  /** null where the checkpoint does not say. */
  abilities: Abilities | null;
}

async function models({ json }: Values<typeof options>, { positionals }: CommandData): Promise<void> {
  if (positionals.length > 0) throw new TtsError("USAGE", `models takes no argument, but got "${positionals[0]}"`, "write tts models");
  const rows = collect(loadConfig().cacheDir);
  await printText(json ? `${JSON.stringify(rows, null, 1)}\n` : table(rows));
}

/** Everything that has a name or lies in the cache. */
export function collect(cacheDir: string): Row[] {
  const counted = new Set<string>();
  const rows: (Row & { sources: string[] })[] = [];
  for (const name of SHIPPED) {
    const directory = shippedCheckpoint();
    const row = { name, hub: null, here: "built in" as const, downloadBytes: null, bundles: [], abilities: abilitiesOf(directory) };
    rows.push({ ...row, checkpointBytes: diskBytes(directory, counted), sources: [realpathSync(directory)] });
  }
  const hubs = new Set([...Object.values(KNOWN_MODELS), ...listPulled(cacheDir)].map(({ hub }) => hub));
  for (const hub of hubs) {
    const name = nameOf(hub);
    const pulled = findPulled(cacheDir, hub);
    const folder = modelFolder(cacheDir, hub);
    const checkpointBytes = diskBytes(folder, counted);
    const here = pulled !== null && firstMissing(pulled) === null ? "yes" : checkpointBytes > 0 ? "in part" : "no";
    const abilities = KNOWN_MODELS[name] ?? (pulled === null ? null : abilitiesOf(pulled.directory));
    const sources = subfolders(folder).map((revision) => realpathSync(revision));
    rows.push({ name, hub, here, checkpointBytes, downloadBytes: KNOWN_MODELS[name]?.bytes ?? null, bundles: [], abilities, sources });
  }
  for (const directory of bundlesFolders(cacheDir).flatMap(subfolders)) addBundle(rows, directory, counted);
  return rows.map(({ sources: _, ...row }) => ({ ...row, abilities: row.abilities === null ? null : onlyAbilities(row.abilities) }));
}

/** To the row of its checkpoint, or as a row of its own. What is half made or of another version counts for nothing. */
function addBundle(rows: (Row & { sources: string[] })[], directory: string, counted: Set<string>): void {
  try {
    const { manifest } = openBundle(directory);
    const source = sourceOf(directory);
    const bundle = { weights: weightsInWords(manifest.weights), directory, bytes: diskBytes(directory, counted) };
    const row = rows.find(({ sources }) => source !== null && sources.includes(source));
    if (row !== undefined) row.bundles.push(bundle);
    else {
      const abilities = countAbilities(manifest.prompt);
      const place = { hub: null, here: "bundle only" as const, checkpointBytes: 0, downloadBytes: null };
      rows.push({ ...place, name: source ?? directory, bundles: [bundle], abilities, sources: source === null ? [] : [source] });
    }
  } catch {
    // not a bundle that this program can use
  }
}

const onlyAbilities = ({ modelType, speakers, languages, dialects, takesInstruct }: Abilities): Abilities => {
  return { modelType, speakers, languages, dialects, takesInstruct };
};

type Countable = Pick<PromptSpec, "modelType" | "takesInstruct" | "languages" | "speakers">;

function countAbilities({ languages, modelType, speakers, takesInstruct }: Countable): Abilities {
  const offered = languageNames({ languages }).length;
  const dialects = Object.keys(languages).length - offered;
  return { modelType, takesInstruct, speakers: Object.keys(speakers).length, languages: offered, dialects };
}

function abilitiesOf(directory: string): Abilities | null {
  try {
    return countAbilities(readAbilities(directory));
  } catch {
    return null;
  }
}

/** Blocks that the files below `path` take; those in `counted` are left out, the others join it. */
function diskBytes(path: string, counted: Set<string>): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (stat.isDirectory()) {
    if (lstatSync(path).isSymbolicLink()) return 0;
    return readdirSync(path).reduce((sum, name) => sum + diskBytes(join(path, name), counted), 0);
  }
  const inode = `${stat.dev}:${stat.ino}`;
  if (counted.has(inode)) return 0;
  counted.add(inode);
  return stat.blocks * 512;
}

const GAP = "   ";

function table(rows: Row[]): string {
  const lines = rows.map((row) => [
    row.name,
    row.here === "no" && row.downloadBytes !== null ? `no, ${size(row.downloadBytes)}` : row.here,
    row.checkpointBytes === 0 ? "-" : size(row.checkpointBytes),
    row.bundles.map(({ weights, bytes }) => `${weights} ${size(bytes)}`).join(", ") || "-",
    row.abilities === null ? "?" : abilitiesInWords(row.abilities),
  ]);
  const all = [["NAME", "HERE", "CHECKPOINT", "BUNDLES", "WHAT IT DOES"], ...lines];
  const widths = all[0].map((_, column) => Math.max(...all.map((line) => line[column].length)));
  return all
    .map(
      (line) =>
        `${line
          .map((cell, column) => cell.padEnd(widths[column]))
          .join(GAP)
          .trimEnd()}\n`,
    )
    .join("");
}

export const size = (bytes: number) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`);
