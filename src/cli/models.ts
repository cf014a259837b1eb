// tts models: lists known models, which of them are here, and their size on disk. Uses no network.

import { loadConfig } from "../config.ts";
import { TtsError } from "../errors.ts";
import { printText } from "../io/output.ts";
import { abilitiesInWords } from "../models/catalog.ts";
import { inventory, type ModelRow } from "../models/inventory.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { size } from "./shared/log.ts";
import { COMMON, type Options, type Values } from "./shared/options.ts";

const options = {
  json: {
    type: "boolean",
    description: "Print a list of JSON objects, with sizes in bytes.",
    group: "Output",
  },
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "list models and which of them are here",
  synopsis: "models [OPTIONS]",
  description: [
    "Lists the models that have a name, and all models in the cache. Each line says whether the model is here, how much disk its checkpoint and the bundles made from it take, and what it can do.",
    "A file that a checkpoint shares with a bundle counts as part of the checkpoint.",
  ],
  examples: [
    ["tts models", "one line per model"],
    [
      'tts models --json | jq -r \'.[] | select(.here == "yes" or .here == "built in") | .name\'',
      "the names of the models that can speak at once",
    ],
  ],
  options,
  run: models,
});

async function models({ json }: Values<typeof options>, { positionals }: CommandData): Promise<void> {
  if (positionals.length > 0)
    throw new TtsError("USAGE", `models takes no argument, but got "${positionals[0]}"`, "write tts models");
  const rows = inventory(loadConfig().cacheDir);
  await printText(json ? `${JSON.stringify(rows, null, 1)}\n` : table(rows));
}

const GAP = "   ";

function table(rows: ModelRow[]): string {
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
