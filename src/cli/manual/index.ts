// tts man: the manual of all commands as one page for man(1).

import { version } from "../../../package.json";
import { TtsError } from "../../errors.ts";
import { printText } from "../../io/output.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { COMMON, type Options, type Values } from "../shared/options.ts";
import { manPage } from "./_roff.ts";

const options = {
  date: {
    type: "string",
    valueHint: "YYYY-MM-DD",
    description: "The date on the page. Default: today.",
    group: "Output",
  },
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "print the manual page",
  synopsis: "man [OPTIONS]",
  description: [
    "Prints the manual of all commands as a page for man(1). make install puts it where man looks.",
  ],
  examples: [["tts man | man -l -", "read it"]],
  options,
  run: man,
});

async function man(args: Values<typeof options>, { positionals, commands }: CommandData): Promise<void> {
  if (positionals.length > 0)
    throw new TtsError("USAGE", `man takes no argument, but got "${positionals[0]}"`, "write tts man");
  const date = args.date ?? new Date().toISOString().slice(0, 10);
  if (!isDate(date)) throw new TtsError("USAGE", `--date is "${date}"`, "give a day such as 2026-01-31");
  await printText(manPage(await commands(), { version, date }));
}

/** Whether it is a day of the calendar: a Date takes February 30 for March 2. */
function isDate(text: string): boolean {
  const time = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(text) : Number.NaN;
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}
