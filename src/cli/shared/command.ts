// A command: its manual, its table of options, and a function that gets their values. Only this file turns
// it into citty's form; the compiler still knows the names and kinds of the options.

import { type CommandDef, defineCommand as defineForCitty } from "citty";
import type { Options, Values } from "./options.ts";

interface Manual<T extends Options> {
  /** What it does, in half a sentence. */
  brief: string;
  /** How to call it, without the program's name. */
  synopsis: string;
  /** Paragraphs. */
  description: string[];
  /** [command line, what it does] */
  examples: [string, string][];
  /** More sections: heading -> lines. */
  sections?: Record<string, string[]>;
  options: T;
}

export interface Command extends Manual<Options> {
  /** What citty runs, with {@link CommandData} as its data. */
  definition: CommandDef<Options>;
  /** By the word that follows the command's name. A command with none has its own arguments. */
  subcommands?: Readonly<Record<string, Command>>;
}

/** A command's own options, and those of its subcommands. */
export const allOptions = ({ options, subcommands = {} }: Command): Options =>
  Object.assign({}, ...Object.values(subcommands).map((command) => command.options), options);

/** What a command gets besides its options. */
export interface CommandData {
  positionals: readonly string[];
  /** All commands by their names; "" is speaking. */
  commands: () => Promise<ReadonlyMap<string, Command>>;
}

/** A command with the function that does its work. */
interface Runnable<T extends Options> extends Manual<T> {
  run: (args: Values<T>, data: CommandData) => void | Promise<void>;
}

export function defineCommand<const T extends Options>({ run, ...manual }: Runnable<T>): Command {
  // citty's own type of the arguments allows any name.
  const definition = defineForCitty<Options>({
    args: manual.options,
    run: ({ args, data }) => run(args as Values<T>, data),
  });
  return { ...manual, definition };
}
