// The command line: finds the command, reads its arguments strictly, and turns whatever goes wrong into one line and an exit status.

import { runCommand } from "citty";
import { version } from "../../package.json";
import { printText } from "../audio/output.ts";
import { asTtsError } from "../errors.ts";
import { logError, setVerbosity } from "./_log.ts";
import { type Command, manual } from "./_manual.ts";
import { type Options, readArguments } from "./_options.ts";

type Loader = () => Promise<{ command: Command }>;

/** Loaded when they are called. */
const COMMANDS: Record<string, Loader> = {
  decode: () => import("./decode.ts"),
  convert: () => import("./convert.ts"),
  models: () => import("./models.ts"),
  pull: () => import("./pull.ts"),
  voices: () => import("./voices.ts"),
  bench: () => import("./bench.ts"),
};
const SAY: Loader = () => import("./say.ts");

/** Exit statuses of signals, as shells give them. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export async function main(args: string[]): Promise<never> {
  // Exit handlers remove half-made files; native calls in workers do not hold up the exit.
  for (const [signal, status] of Object.entries(SIGNALS)) process.once(signal, () => process.exit(status));
  try {
    await run(args);
    process.exit(0);
  } catch (thrown) {
    const error = asTtsError(thrown);
    logError(error);
    process.exit(error.exitStatus);
  }
}

async function run(args: string[]): Promise<void> {
  if (args.length === 1 && args[0] === "--version") return printText(`tts ${version}\n`);
  const named = args.length > 0 && Object.hasOwn(COMMANDS, args[0]);
  const name = named ? `tts ${args[0]}` : "tts";
  const { command } = await (named ? COMMANDS[args[0]] : SAY)();
  const { flags, positionals } = readArguments(named ? args.slice(1) : args, command.definition.args as Options);
  if (flags.includes("--help")) return printText(manual(name, command));
  if (flags.includes("--quiet")) setVerbosity("quiet");
  else if (flags.includes("--verbose")) setVerbosity("verbose");
  await runCommand(command.definition, { rawArgs: flags, data: { positionals } });
}
