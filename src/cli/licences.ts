// tts licences: the licences of the program and of all that it is made of.

import { defineCommand } from "citty";
import { TtsError } from "../errors.ts";
import { printText } from "../io/output.ts";
import { licences } from "../packaging/licences.ts";
import type { Command } from "./manual/page.ts";
import { COMMON } from "./shared/options.ts";

export const command: Command = {
  synopsis: "licences",
  description: [
    "Prints the licences of this program, of the libraries and packages in it, and of the starter voice. Whoever passes the program on passes them on.",
  ],
  examples: [["tts licences | less", "read them"]],
  definition: defineCommand({
    meta: { name: "tts licences", description: "print the licences of all parts" },
    args: COMMON,
    run: async ({ data }) => {
      const [argument] = (data as { positionals: string[] }).positionals;
      if (argument !== undefined) throw new TtsError("USAGE", `licences takes no argument, but got "${argument}"`, "write tts licences");
      await printText(licences());
    },
  }),
};
