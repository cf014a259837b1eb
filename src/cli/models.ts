// tts models: lists models and their size on disk, verifies what is in the cache, and removes it. Uses no
// network.

import { loadConfig } from "../config.ts";
import { TtsError } from "../errors.ts";
import { printText } from "../io/output.ts";
import { abilitiesInWords } from "../models/catalog.ts";
import { inventory, type ModelRow } from "../models/inventory.ts";
import { removeModel } from "../models/remove.ts";
import { type Verified, verifyCache } from "../models/verify.ts";
import { nearest } from "../nearest.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { clearProgress, log, showProgress, size } from "./shared/log.ts";
import { COMMON, type Options, type Values } from "./shared/options.ts";

const options = {
  verify: {
    type: "boolean",
    description:
      "Compare every file in the cache with its sum, and print a line for each checkpoint and bundle. A damaged bundle, or one that another version of the program made, is made again at its next use.",
    group: "Output",
  },
  json: {
    type: "boolean",
    description: "Print a list of JSON objects, with sizes in bytes.",
    group: "Output",
  },
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "list, verify and remove models",
  synopsis: "models [OPTIONS]  |  models rm NAME",
  description: [
    "Lists the models that have a name, and all models in the cache. Each line says whether the model is here, how much disk its checkpoint and the bundles made from it take, and what it can do.",
    "A bundle holds a copy of some of the codec's weights, 0.2 GB at full size; its size includes them. On a file system that shares blocks between files (btrfs, xfs) the copy takes no room and is not counted.",
    "rm removes a pulled checkpoint and the bundles made from it. For the directory of random weights that tts bench has made, it does the same; for any other checkpoint directory, and for the voice that comes with the program, it removes only the bundles. It touches nothing outside the cache, and nothing that a process uses.",
  ],
  examples: [
    ["tts models", "one line per model"],
    [
      'tts models --json | jq -r \'.[] | select(.here == "yes" or .here == "built in") | .name\'',
      "the names of the models that can speak at once",
    ],
    ["tts models --verify", "whether everything in the cache is as it was made"],
    ["tts models rm 0.6b-custom", "frees what it takes on the disk"],
  ],
  sections: { "EXIT STATUS": ["3 with --verify where something is damaged."] },
  options,
  run: models,
});

async function models({ json, verify }: Values<typeof options>, { positionals }: CommandData): Promise<void> {
  const { cacheDir } = loadConfig();
  if (positionals.length > 0) return remove(positionals, cacheDir);
  if (verify) return verifyAll(cacheDir, json === true);
  const rows = inventory(cacheDir);
  await printText(json ? `${JSON.stringify(rows, null, 1)}\n` : table(rows));
}

function remove([action, ...names]: readonly string[], cacheDir: string): void {
  if (action !== "rm") {
    const guess = nearest(action, ["rm"]);
    const hint = guess === null ? "write tts models, or tts models rm NAME" : `did you mean ${guess}?`;
    throw new TtsError("USAGE", `models cannot "${action}"`, hint);
  }
  const [name] = names;
  if (names.length !== 1)
    throw new TtsError("USAGE", `models rm got ${names.length} arguments`, "write tts models rm NAME");
  const removed = removeModel(name, cacheDir);
  const total = removed.reduce((sum, { bytes }) => sum + bytes, 0);
  log.info(`removed ${removed.map(({ path }) => path).join(", ")}: ${size(total)} freed`);
}

async function verifyAll(cacheDir: string, json: boolean): Promise<void> {
  const verified = await verifyCache(cacheDir, (path, done, total) =>
    showProgress(`reading ${path}`, done, total),
  );
  clearProgress();
  await printText(json ? `${JSON.stringify(verified, null, 1)}\n` : verified.map(lineOf).join(""));
  const damaged = verified.filter(({ state }) => state === "damaged");
  if (damaged.length === 0) return;
  const what = `${damaged.length} of ${verified.length} in the cache ${damaged.length === 1 ? "is" : "are"} damaged`;
  throw new TtsError("BUNDLE_INVALID", what, damaged[0].remedy);
}

const lineOf = ({ fault, kind, path, remedy, state }: Verified) =>
  `${state.padEnd(8)} ${kind} ${path}${fault === "" ? "" : `: ${fault}; ${remedy}`}\n`;

const GAP = "   ";

function table(rows: ModelRow[]): string {
  const lines = rows.map((row) => [
    row.name,
    row.here === "no" && row.downloadBytes !== null ? `no, ${size(row.downloadBytes)}` : row.here,
    row.checkpointBytes === 0 ? "-" : size(row.checkpointBytes),
    row.bundles
      .map(({ bytes, fault, weights }) => `${weights} ${size(bytes)}${fault === "" ? "" : " unusable"}`)
      .join(", ") || "-",
    row.here === "random weights"
      ? "noise, to measure with: tts bench"
      : row.abilities === null
        ? "?"
        : abilitiesInWords(row.abilities),
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
