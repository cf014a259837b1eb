// What a command is: what its manual says, its table of options, and a function that gets what was written
// for them. Made into citty's form here alone; the names and kinds of the options stay known to the compiler.

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
  /** For citty; its data are {@link CommandData}. */
  definition: CommandDef<Options>;
}

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
