// The command line: finds the command, reads its arguments strictly, and turns whatever goes wrong into one
// line and an exit status.

import { runCommand } from "citty";
import { asTtsError, TtsError } from "../errors.ts";
import { printText } from "../io/output.ts";
import { textOrEmpty } from "../io/read.ts";
import { nearest } from "../nearest.ts";
import { commandMeantBy, isCommand, loadCommand, loadCommands } from "./commands.ts";
import { manual, overview } from "./manual/page.ts";
import { allOptions, type Command, type CommandData } from "./shared/command.ts";
import { logError, setOptions, setVerbosity } from "./shared/log.ts";
import { readArguments } from "./shared/options.ts";
import { versions, versionsHere } from "./shared/version.ts";

/** Exit statuses of signals, as shells report them. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export async function main(args: string[]): Promise<never> {
  // Exit handlers remove half-made files; native calls in workers do not hold up the exit.
  for (const [signal, status] of Object.entries(SIGNALS))
    if (signal !== "SIGHUP" || !isHangUpIgnored()) process.once(signal, () => process.exit(status));
  try {
    await run(args);
    process.exit(0);
  } catch (thrown) {
    const error = asTtsError(thrown);
    if (error.code !== "READER_GONE") logError(error);
    process.exit(error.exitStatus);
  }
}

/** Whether SIGHUP was ignored at the start, as nohup arranges; it then stays ignored. */
function isHangUpIgnored(): boolean {
  const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(textOrEmpty("/proc/self/status"))?.[1] ?? "0";
  return Number.parseInt(mask.slice(-1), 16) % 2 === 1; // the lowest bit is signal 1
}

/** Before it is spoken, and what lies in the output is lost. @throws TtsError USAGE */
function refuseMistypedCommand(word: string): void {
  const meant = commandMeantBy(word);
  if (meant === null) return;
  const hint = `did you mean tts ${meant}? To speak the word, put -- before it`;
  throw new TtsError("USAGE", `there is no command "${word}"`, hint);
}

async function run(args: string[]): Promise<void> {
  if (args.join(" ") === "--version") return printText(versions()); // at once, without loading a command
  const name = isCommand(args[0]) ? args[0] : "";
  if (name === "" && args.length === 1) refuseMistypedCommand(args[0]);
  const raw = name === "" ? args : args.slice(1);
  const { called, command, depth } = subcommandOf(await loadCommand(name), name, raw);
  setOptions(command.options);
  const read = readArguments(raw, command.options);
  const [flags, positionals] = [read.flags, read.positionals.slice(depth)];
  if (flags.includes("--help"))
    return printText(name === "" ? overview(await loadCommands()) : manual(`tts ${called}`, command));
  if (flags.includes("--version"))
    return printText(versions() + (flags.includes("--verbose") ? await versionsHere() : ""));
  if (flags.includes("--quiet")) setVerbosity("quiet");
  else if (flags.includes("--verbose")) setVerbosity("verbose");
  await runCommand(command.definition, {
    rawArgs: flags,
    data: { positionals, commands: loadCommands } satisfies CommandData,
  });
}

/**
 * The subcommand that the first argument names, or the command itself.
 * @returns `depth` arguments have named it
 * @throws TtsError USAGE where a command with subcommands has none of that name
 */
function subcommandOf(
  command: Command,
  name: string,
  raw: readonly string[],
): { called: string; command: Command; depth: number } {
  const { subcommands } = command;
  if (subcommands === undefined) return { called: name, command, depth: 0 };
  setOptions(allOptions(command));
  const [word] = readArguments(raw, allOptions(command)).positionals;
  if (word === undefined) return { called: name, command, depth: 0 };
  if (Object.hasOwn(subcommands, word))
    return { called: `${name} ${word}`, command: subcommands[word], depth: 1 };
  const guess = nearest(word, Object.keys(subcommands));
  throw new TtsError(
    "USAGE",
    `${name} cannot "${word}"`,
    guess === null ? `it can ${Object.keys(subcommands).join(", ")}` : `did you mean ${guess}?`,
  );
}
