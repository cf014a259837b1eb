// Manual pages, made from the commands' own definitions.

import type { Command } from "../shared/command.ts";
import type { Options } from "../shared/options.ts";

const WIDTH = 88;
const INDENT = "    ";
const OPTION_COLUMN = 28;

export function manual(name: string, command: Command): string {
  const { brief, description, examples, options, sections = {}, subcommands, synopsis } = command;
  const blocks: [heading: string, paragraphs: string[]][] = [
    ["NAME", [wrap(`${name} - ${brief}`)]],
    [
      "SYNOPSIS",
      [
        callsOf(synopsis)
          .map((call) => `${INDENT}tts ${call}`)
          .join("\n"),
      ],
    ],
    ["DESCRIPTION", description.map((paragraph) => wrap(paragraph))],
    ...(subcommands === undefined ? [] : [commandBlock(name, subcommands)]),
    ...optionGroups(options),
    ["EXAMPLES", examples.map(([line, does]) => `${INDENT}${line}\n${wrap(does, 2 * INDENT.length)}`)],
    ...Object.entries(sections).map(([heading, lines]): [string, string[]] => [heading, lines.map(titled)]),
  ];
  return blocks.map(([heading, paragraphs]) => `${heading}\n${paragraphs.join("\n\n")}\n`).join("\n");
}

/** The ways to call a command, without the program's name. */
export const callsOf = (synopsis: string): string[] =>
  synopsis.split("  |  ").map((alternative) => alternative.replace(/^tts /, ""));

/** The manual of speaking, with a list of the commands. `commands` has all by name; "" is speaking. */
export function overview(commands: ReadonlyMap<string, Command>): string {
  const speaking = commands.get("")!;
  return manual("tts", { ...speaking, sections: { COMMANDS: listOf(commands), ...speaking.sections } });
}

/** A section: every command and what it does. */
export function listOf(commands: ReadonlyMap<string, Command>): string[] {
  const named = [...commands].filter(([name]) => name !== "");
  return [...named.map(([name, { brief }]) => `tts ${name}\n${brief}`), "tts COMMAND --help tells more."];
}

function commandBlock(name: string, subcommands: Readonly<Record<string, Command>>): [string, string[]] {
  const lines = Object.entries(subcommands).map(([word, { brief }]) => `${name} ${word}\n${brief}`);
  return ["COMMANDS", [...lines, `${name} COMMAND --help tells more.`].map(titled)];
}

/** Breaks between words; every line starts at `column`. */
function wrap(text: string, column = INDENT.length): string {
  const lines: string[] = [];
  let current = "";
  for (const word of text.split(" ")) {
    if (current !== "" && column + current.length + 1 + word.length > WIDTH) {
      lines.push(current);
      current = "";
    }
    current += current === "" ? word : ` ${word}`;
  }
  return [...lines, current].map((line) => " ".repeat(column) + line).join("\n");
}

/** A paragraph, or a title line with its text below. */
function titled(text: string): string {
  const [title, ...rest] = text.split("\n");
  return rest.length === 0 ? wrap(title) : `${INDENT}${title}\n${wrap(rest.join(" "), 2 * INDENT.length)}`;
}

function optionGroups(options: Options): [string, string[]][] {
  const groups = new Map<string, string[]>();
  for (const [name, { alias, type, valueHint, description, group = "Options" }] of Object.entries(options)) {
    const names = `${alias === undefined ? "    " : `-${alias}, `}--${name}${type === "string" ? ` ${valueHint ?? "VALUE"}` : ""}`;
    const text = wrap(description, INDENT.length + OPTION_COLUMN);
    const entry =
      names.length < OPTION_COLUMN
        ? INDENT + names.padEnd(OPTION_COLUMN) + text.trimStart()
        : `${INDENT}${names}\n${text}`;
    groups.set(group, [...(groups.get(group) ?? []), entry]);
  }
  return [...groups].map(([group, entries]) => [group.toUpperCase(), [entries.join("\n")]]);
}
