// tts licences: prints the licences of the program and of all its parts.

import { TtsError } from "../errors.ts";
import { printText } from "../io/output.ts";
import { licences } from "../packaging/licences.ts";
import { defineCommand } from "./shared/command.ts";
import { COMMON } from "./shared/options.ts";

export const command = defineCommand({
  brief: "print the licences of all parts",
  synopsis: "licences",
  description: [
    "Prints the licences of this program, of the libraries and packages in it, and of the starter voice. If you pass the program on, pass them on too.",
  ],
  examples: [["tts licences | less", "read them"]],
  options: COMMON,
  run: async (_args, { positionals: [argument] }) => {
    if (argument !== undefined)
      throw new TtsError("USAGE", `licences takes no argument, but got "${argument}"`, "write tts licences");
    await printText(licences());
  },
});
