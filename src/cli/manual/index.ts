// tts man: the manual of all commands as one page for man(1).

import { defineCommand } from "citty";
import { version } from "../../../package.json";
import { TtsError } from "../../errors.ts";
import { printText } from "../../io/output.ts";
import { COMMON, type Options, text } from "../shared/options.ts";
import { manPage } from "./_roff.ts";
import type { Command, CommandData } from "./page.ts";

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
    run: ({ args, data }) => man(args, data as CommandData),
  }),
};

async function man(args: Record<string, unknown>, { positionals, commands }: CommandData): Promise<void> {
  if (positionals.length > 0) throw new TtsError("USAGE", `man takes no argument, but got "${positionals[0]}"`, "write tts man");
  const date = text(args, "date") ?? new Date().toISOString().slice(0, 10);
  if (!/^\d{4}-\d\d-\d\d$/.test(date)) throw new TtsError("USAGE", `--date is "${date}"`, "write it as 2026-01-31");
  await printText(manPage(await commands(), { version, date }));
}
