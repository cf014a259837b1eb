// tts completion: prints a script that teaches a shell to complete this program's command line, or the names
// that the script asks for.

import { TtsError } from "../../errors.ts";
import { printText } from "../../io/output.ts";
import { nearest } from "../../nearest.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { COMMON, type Values } from "../shared/options.ts";
import { bashScript } from "./_bash.ts";
import { fishScript } from "./_fish.ts";
import { type CompletedCommand, completedCommands, NAME_KINDS, type NameKind, namesHere } from "./_values.ts";
import { zshScript } from "./_zsh.ts";

const SCRIPTS: Record<string, (commands: readonly CompletedCommand[]) => string> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};
const WHAT = [...Object.keys(SCRIPTS), ...NAME_KINDS];

export const command = defineCommand({
  brief: "let a shell complete the command line",
  synopsis: `completion ${Object.keys(SCRIPTS).join("|")}  |  tts completion ${NAME_KINDS.join("|")}`,
  description: [
    "Prints a script for a shell: with it, the Tab key completes commands, options, their values, files, and the names of models, voices, speakers and languages. make install puts the scripts where the shells look for them.",
    "The other words print names that this machine knows, one per line; the scripts ask for these.",
  ],
  examples: [
    ["source <(tts completion bash)", "in ~/.bashrc; the same with zsh in ~/.zshrc, after compinit"],
    ["tts completion fish > ~/.config/fish/completions/tts.fish", "fish finds it there"],
    ["tts completion speakers", "all speakers on this machine"],
  ],
  options: COMMON,
  run: completion,
});

async function completion(
  _args: Values<typeof COMMON>,
  { positionals, commands }: CommandData,
): Promise<void> {
  const [what = ""] = positionals;
  if (positionals.length !== 1)
    throw new TtsError(
      "USAGE",
      `completion takes one word, got ${positionals.length}`,
      `choose one of ${WHAT.join(", ")}`,
    );
  if (Object.hasOwn(SCRIPTS, what)) return printText(SCRIPTS[what](completedCommands(await commands())));
  if (NAME_KINDS.includes(what as NameKind))
    return printText(
      namesHere(what as NameKind)
        .map((name) => `${name}\n`)
        .join(""),
    );
  const guess = nearest(what, WHAT);
  throw new TtsError(
    "USAGE",
    `completion knows no "${what}"`,
    guess === null ? `choose one of ${WHAT.join(", ")}` : `did you mean ${guess}?`,
  );
}
