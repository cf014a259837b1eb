// The commands by name. A command is loaded when it is called; only manuals and completion scripts load all.

import { nearest } from "../nearest.ts";
import type { Command } from "./shared/command.ts";

type Loader = () => Promise<{ command: Command }>;

const COMMANDS: Record<string, Loader> = {
  announce: () => import("./announce/index.ts"),
  cache: () => import("./cache.ts"),
  decode: () => import("./decode.ts"),
  convert: () => import("./convert.ts"),
  models: () => import("./models.ts"),
  pull: () => import("./pull.ts"),
  voices: () => import("./voices/index.ts"),
  bench: () => import("./bench/index.ts"),
  doctor: () => import("./doctor/index.ts"),
  fleet: () => import("./fleet/index.ts"),
  join: () => import("./join/index.ts"),
  render: () => import("./render/index.ts"),
  serve: () => import("./serve/index.ts"),
  completion: () => import("./completion/index.ts"),
  man: () => import("./manual/index.ts"),
  licences: () => import("./licences.ts"),
};
/** What `tts` does without a command. */
const SAY: Loader = () => import("./say.ts");

export const isCommand = (name: string | undefined): name is string =>
  name !== undefined && Object.hasOwn(COMMANDS, name);

/** Shorter names are a letter away from too many words. */
const LEAST_LETTERS = 5;

/** The command that a word to be spoken was probably meant to be: at most one edit away. */
export function commandMeantBy(word: string): string | null {
  const names = Object.keys(COMMANDS).filter((name) => name.length >= LEAST_LETTERS);
  return nearest(word, names, 1);
}

/** @param name one that {@link isCommand} accepts, or "" for speaking */
export async function loadCommand(name: string): Promise<Command> {
  return (await (name === "" ? SAY : COMMANDS[name])()).command;
}

/** All commands by name; "" comes first and is speaking. */
export async function loadCommands(): Promise<Map<string, Command>> {
  const names = ["", ...Object.keys(COMMANDS)];
  return new Map(await Promise.all(names.map(async (name) => [name, await loadCommand(name)] as const)));
}
