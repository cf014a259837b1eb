// tts man: the manual of all commands as one page for man(1).

import { defineCommand } from "citty";
import { version } from "../../package.json";
import { printText } from "../audio/output.ts";
import { TtsError } from "../errors.ts";
import { loadCommands } from "./_commands.ts";
import { manPage } from "./_man.ts";
import type { Command } from "./_manual.ts";
import { COMMON, type Options, text } from "./_options.ts";

const options: Options = {
  date: { type: "string", valueHint: "YYYY-MM-DD", description: "What the page says of its age. Default: today.", group: "Output" },
  ...COMMON,
};

export const command: Command = {
  synopsis: "man [OPTIONS]",
  description: ["Prints the manual of all commands as a page for man(1). make install puts it where man looks."],
  examples: [["tts man | man -l -", "read it"]],
  definition: defineCommand({
    meta: { name: "tts man", description: "print the manual page" },
    args: options,
    run: ({ args, data }) => man(args, (data as { positionals: string[] }).positionals),
  }),
};

async function man(args: Record<string, unknown>, positionals: string[]): Promise<void> {
  if (positionals.length > 0) throw new TtsError("USAGE", `man takes no argument, but got "${positionals[0]}"`, "write tts man");
  const date = text(args, "date") ?? new Date().toISOString().slice(0, 10);
  if (!/^\d{4}-\d\d-\d\d$/.test(date)) throw new TtsError("USAGE", `--date is "${date}"`, "write it as 2026-01-31");
  await printText(manPage(await loadCommands(), { version, date }));
}
